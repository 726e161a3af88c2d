//! Routing tables (RFC 4271 §3.2).
