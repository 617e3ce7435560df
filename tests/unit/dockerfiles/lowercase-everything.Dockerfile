from alpine:3.19
arg who=world
env greeting="hello $who"
label a=b
workdir /tmp
copy . .
run echo "$greeting"
expose 80/udp
user nobody
cmd ["sh"]
