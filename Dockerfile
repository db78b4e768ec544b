# The image of keyferry: the program, the few libraries that it is linked to, and certificate authorities. `scripts/image`
# makes the same one without an engine; both ask `image/` what is in it.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package keyferry --bin keyferry \
 && cargo run --release --locked --package keyferry-image -- --binary target/release/keyferry --folder /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/keyferry"]
