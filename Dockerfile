# docker build --build-arg VERSION=$(git describe --tags --always) -t pillion .
# docker run -p 8080:8080 -v "$PWD/config.yaml:/etc/pillion/config.yaml:ro" -e REDIS_URL=… pillion

# The build runs on the builder's own platform and cross-compiles.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /pillion ./cmd/pillion

# The binary and the CA certificates (for rediss:// and https:// webhooks); no
# shell, no package manager, nothing writable.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /pillion /pillion
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Where `pillion run` and the health check look for the configuration.
ENV PILLION_CONFIG=/etc/pillion/config.yaml
EXPOSE 8080 9900
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/pillion", "health"]
ENTRYPOINT ["/pillion"]
CMD ["run"]
