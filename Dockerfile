# The image of Tierce: one program. It is the balancer (`tierce edge`), and application images copy the program from it.
#
#   docker build -t tierce .
#
# Both bases are arguments, so that the image can be built where they come from somewhere else. The program is linked to glibc,
# because it loads CPython as the distribution has built it: the base has to have glibc, no older than the one of BUILDER, and
# libgcc_s. Alpine does not; Debian 12 and distroless/cc-debian12 do.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package cli && strip target/release/tierce

FROM ${BASE}
COPY --from=build /src/target/release/tierce /usr/local/bin/tierce
# What runs is kept in .tierce/ of the working directory: with a read-only root, mount a tmpfs here.
WORKDIR /run/tierce
RUN chown 65534:65534 /run/tierce
USER 65534:65534
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["tierce"]
CMD ["--help"]
