//! The decision process (RFC 4271 §9.1).
