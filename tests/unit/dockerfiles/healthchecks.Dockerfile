FROM busybox AS with
HEALTHCHECK --interval=5m --timeout=3s \
  CMD wget -q -O- http://localhost/ || exit 1
FROM with AS exec
HEALTHCHECK --retries=10 --start-period=2m CMD ["/bin/check", "--all"]
FROM exec AS without
HEALTHCHECK NONE
