//! Channels to the control plane: discovery and policy, over mesh TLS.
