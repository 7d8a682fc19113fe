//go:build tools

// Package tools names the programs that are built from this module's dependencies.
package tools

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
