# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue';"]
ENV APP_HOME C:\app
RUN New-Item -ItemType Directory -Path $env:APP_HOME; `
    Invoke-WebRequest -Uri https://example.org/tool.zip -OutFile tool.zip; `
    Expand-Archive tool.zip -DestinationPath C:\app; `
    Remove-Item tool.zip
WORKDIR C:\\app
COPY web.config C:\inetpub\wwwroot\
USER ContainerUser
CMD ["C:\\app\\tool.exe"]
