FROM hashicorp/terraform:1.9 AS terraform
FROM amazon/aws-cli:2.17.0 AS aws
FROM debian:stable-slim
ARG TARGETARCH
ARG KUBECTL_VERSION=v1.30.3
COPY --from=terraform /bin/terraform /usr/local/bin/
COPY --from=aws /usr/local/aws-cli /usr/local/aws-cli
ADD --chmod=0755 https://dl.k8s.io/release/${KUBECTL_VERSION}/bin/linux/${TARGETARCH:-amd64}/kubectl /usr/local/bin/kubectl
RUN ln -s /usr/local/aws-cli/v2/current/bin/aws /usr/local/bin/aws
WORKDIR /work
ENTRYPOINT ["/bin/bash"]
