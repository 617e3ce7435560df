FROM alpine
LABEL 作者="張偉" описание="пример" emoji=🚢
ENV GRÜSSE=schön
COPY файл.txt /данные/
RUN echo 한국어 "$GRÜSSE"
