#!/bin/sh
# Makes src/sampan/buildkit/wire_pb2.py and .pyi from wire.proto. Needs grpcio-tools (pip), whose protoc must not be
# newer than the protobuf runtime that pyproject.toml allows.
set -eu
cd "$(dirname "$0")/.."
python3 -m grpc_tools.protoc -I src/sampan/buildkit --python_out=src/sampan/buildkit --pyi_out=src/sampan/buildkit wire.proto
