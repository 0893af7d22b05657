# docker build -t dataflex . && docker run --rm -v "$PWD:/work" dataflex train less.yaml
# With an NVIDIA GPU: docker run --gpus all … --device cuda. A custom component's program has
# to be in the mounted folder and to run by itself: the image has no shell.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party/liberation third_party/liberation
COPY third_party/latex third_party/latex
RUN go mod download
COPY . .
RUN make

FROM gcr.io/distroless/base-debian12
COPY --from=build /src/bin/dataflex-train /src/bin/dataflex-cli /usr/local/bin/
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility HF_HOME=/work/.huggingface DATAFLEX_CACHE=/work/.dataflex
WORKDIR /work
ENTRYPOINT ["/usr/local/bin/dataflex-cli"]
