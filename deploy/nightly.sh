#!/bin/sh
# One night: new files in, features and models anew, and a release in production if it passes its gates.
# The first step that fails ends it, with nothing promoted and nothing published. Run again, it goes on.
#   nightly.sh FILES [PUBLISH]
set -eu
files=${1:?usage: nightly.sh FILES [PUBLISH]}

lookbook data load "$files"
lookbook features embed
lookbook features build
lookbook features guard
feast -c feature_repo apply
lookbook features materialize
lookbook train
lookbook release create
lookbook release promote release:latest --why nightly
lookbook release prune --keep 7
if [ $# -gt 1 ]; then
    sh "$(dirname "$0")/publish.sh" "$2"
fi
