//! Discovery and policy answers for proxies, over gRPC; the export gate.
