FROM scratch
LABEL "com.example.vendor"="ACME Incorporated"
LABEL com.example.label-with-value="foo"
LABEL version="1.0" description="first half, \
second half" single='$not expanded' esc=a\ b
LABEL multi.label1="value1" \
      multi.label2="value2" \
      other="value3"
ENV abc=hello
ENV abc=bye def=$abc ghi="${abc}-${undefined:-default}" path=${abc#he} \
    all=${abc//l/L} suffix=${abc%%l*} set=${abc:+yes}
