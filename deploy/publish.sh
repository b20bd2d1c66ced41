#!/bin/sh
# Puts what the service needs of LOOKBOOK_HOME into a new folder below $1, and points $1/current at it: a
# release under an alias, the online store, and Feast's registry. Nothing may write to the home meanwhile.
set -eu
home=${LOOKBOOK_HOME:?}
to=${1:?usage: publish.sh FOLDER}
keep=${KEEP:-3}

name=$(date -u +%Y%m%dT%H%M%S)-$$
mkdir -p "$to"
# What a killed run has left.
rm -rf "$to"/*.partial
mkdir "$to/$name.partial"
cp -a "$home/registry.db" "$home/online" "$home/models" "$to/$name.partial/"
# LMDB's table of its readers, who are processes of this machine.
rm -f "$to/$name.partial/online/lock.mdb"
sync -f "$to/$name.partial"
mv "$to/$name.partial" "$to/$name"
ln -s "$name" "$to/$name.partial"
mv -T "$to/$name.partial" "$to/current"

# A pod that is starting may still copy from the one before.
ls -d "$to"/*-* | sort -r | tail -n +$((keep + 1)) | xargs -r rm -rf
echo "published $name"
