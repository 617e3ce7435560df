FROM rocker/shiny:4.4
RUN R -e "install.packages(c('shinydashboard', 'DT'), repos='https://cloud.r-project.org/')"
RUN echo "local(options(shiny.port = 3838, shiny.host = '0.0.0.0'))" > /usr/local/lib/R/etc/Rprofile.site
COPY app.R /srv/shiny-server/
EXPOSE 3838
CMD R -e "shiny::runApp('/srv/shiny-server')"
