FROM jupyter/base-notebook:python-3.11
USER root
RUN apt-get update --yes && \
    apt-get install --yes --no-install-recommends \
    # fonts
    cm-super \
    dvipng \
    # films
    ffmpeg && \
    apt-get clean && rm -rf /var/lib/apt/lists/*
USER ${NB_UID}
RUN mamba install --yes 'numpy' 'pandas' && mamba clean --all -f -y && fix-permissions "${CONDA_DIR}"
ENV XDG_CACHE_HOME="/home/${NB_USER}/.cache/"
WORKDIR "${HOME}"
