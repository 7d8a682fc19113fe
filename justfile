# The words of CI. `just ci` is what `.ci/run` runs; each recipe can be run alone.

# Everything CI checks
ci:
    bash .ci/run

# Format is as rustfmt has it
fmt:
    bash .ci/run fmt

# Clippy, warnings denied
lint:
    bash .ci/run lint

# All tests
test:
    bash .ci/run test

# Licences, bans and sources of dependencies
deny:
    bash .ci/run deny

# Generated files are as committed
gen-check:
    bash .ci/run gen-check

# What images hold is static, and runs with nothing else
image-check:
    bash .ci/run image

# Both images, without Docker; needs root, buildah and mmdebstrap
image:
    images/build

# The main job on three embedded clusters
demo:
    cargo run --release -- demo

# Other people's tests of the proxy; needs Go, curl and wrk
conformance:
    cargo run -p conformance -- --write

# Write the generated files
gen:
    cargo run -p mesh-api --example crds -- crds
    cargo run -p mesh-install --example charts -- charts
