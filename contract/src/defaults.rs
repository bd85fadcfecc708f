//! Values that apply when the variable is not set.

/// Port of the sidecar's API.
pub const PORT: u16 = 7570;

/// Port of the sidecar's health and metrics.
pub const ADMIN_PORT: u16 = 7571;

/// Socket address of the sidecar's API.
pub const LISTEN: &str = "127.0.0.1:7570";

/// Socket address of the sidecar's health and metrics.
pub const ADMIN: &str = "[::]:7571";

/// Where clients look for a sidecar.
pub const URL: &str = "http://127.0.0.1:7570";

/// Folder of the segments.
pub const DIR: &str = "/dev/shm";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn addresses_and_url_have_the_ports() {
        let listen: SocketAddr = LISTEN.parse().unwrap();
        let admin: SocketAddr = ADMIN.parse().unwrap();
        assert_eq!((listen.port(), admin.port()), (PORT, ADMIN_PORT));
        assert_eq!(URL, format!("http://{LISTEN}"));
    }
}
