# syntax=docker/dockerfile:1
FROM alpine
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://mirrors.edge.kernel.org/pub/linux/kernel/Historic/linux-0.01.tar.gz /
ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1:docs /buildkit
ADD git@git.example.com:foo/bar.git /bar
ADD --chown=55:mygroup --chmod=u=rwX,go=rX files* /somedir/
ADD --unpack=false rootfs.tar.xz /archives/
ADD --link --exclude=*.md --exclude=*.log ["a file.txt", "/with spaces/"]
