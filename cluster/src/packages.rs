//! The Debian packages that a cluster runs on.

/// A Debian package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name for `apt-get install`.
    pub name: &'static str,
    /// A program in `PATH`, or the absolute path of a file, that is there when the package is installed.
    pub gives: &'static str,
}

/// Everything that must be installed before [`Cluster::up`](crate::Cluster::up), in the order of use.
pub const PACKAGES: [Package; 10] = [
    Package { name: "containerd", gives: "containerd" },
    Package { name: "runc", gives: "runc" },
    Package { name: "containernetworking-plugins", gives: "/usr/lib/cni/bridge" },
    Package { name: "iptables", gives: "iptables" },
    Package { name: "iproute2", gives: "ip" },
    Package { name: "conntrack", gives: "conntrack" },
    Package { name: "openssl", gives: "openssl" },
    Package { name: "util-linux", gives: "nsenter" },
    Package { name: "buildah", gives: "buildah" },
    Package { name: "busybox-static", gives: "busybox" },
];
