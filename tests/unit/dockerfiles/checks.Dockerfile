# syntax=docker/dockerfile:1
# check=skip=JSONArgsRecommended,StageNameCasing;error=true
FROM alpine AS Base
# check=skip=all
ENV PASSWORD=hunter2
CMD echo hi
