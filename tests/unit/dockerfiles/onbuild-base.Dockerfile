FROM python:2.7
ONBUILD COPY requirements.txt /usr/src/app/
ONBUILD RUN pip install --no-cache-dir -r requirements.txt
ONBUILD COPY . /usr/src/app
ONBUILD RUN <<EOF
python -m compileall /usr/src/app
EOF
ONBUILD ENV BUILT=yes
WORKDIR /usr/src/app
