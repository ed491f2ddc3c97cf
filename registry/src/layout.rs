//! OCI layouts.
