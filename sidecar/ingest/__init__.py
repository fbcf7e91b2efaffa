"""The gRPC server: streams of producers, validated and accepted."""
