//! Which program an image stands for. There is no registry: an image is known or it is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mesh_contract::images::{DEMO_CLIENT, DEMO_WEB, MESH, PAUSE, PROXY};
use mesh_contract::names::AWAIT;

/// A program and the arguments the image puts before the container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) leading: Vec<String>,
}

/// The images this node runs.
#[derive(Clone, Debug)]
pub(super) struct Images {
    known: BTreeMap<String, Program>,
    mesh: PathBuf,
}

/// An image that stands for no program here.
#[derive(Debug, thiserror::Error)]
#[error(
    "image {image:?} is not known to this node, which runs programs and pulls nothing; it knows: \
     {known} (add one with `--image NAME=PATH`)"
)]
pub(super) struct Unknown {
    image: String,
    known: String,
}

/// A flag that is not `NAME=PATH`.
#[derive(Debug, thiserror::Error)]
#[error("--image {0:?}: expected NAME=PATH with an absolute path")]
pub(crate) struct BadFlag(String);

impl Images {
    /// The mesh's own images, all of them `mesh`, and those given by flag.
    pub(super) fn new(mesh: &Path, flags: &[String]) -> Result<Self, BadFlag> {
        let ours: [(&str, &[&str]); 5] = [
            (MESH, &[]),
            (PROXY, &["proxy"]),
            (DEMO_WEB, &["demo-web"]),
            (DEMO_CLIENT, &["demo-client"]),
            (PAUSE, &["pause"]),
        ];
        let mut known = BTreeMap::new();
        for (name, leading) in ours {
            let leading = leading.iter().map(|s| (*s).to_owned()).collect();
            known.insert(
                name.to_owned(),
                Program {
                    path: mesh.to_owned(),
                    leading,
                },
            );
        }
        for flag in flags.iter().filter(|f| !f.is_empty()) {
            let (name, path) = flag
                .split_once('=')
                .filter(|(n, p)| !n.is_empty() && p.starts_with('/'))
                .ok_or_else(|| BadFlag(flag.clone()))?;
            let program = Program {
                path: path.into(),
                leading: Vec::new(),
            };
            known.insert(base(name).to_owned(), program);
        }
        Ok(Self {
            known,
            mesh: mesh.to_owned(),
        })
    }

    /// The program of an image, any tag or digest of it.
    pub(super) fn find(&self, image: &str) -> Result<&Program, Unknown> {
        self.known.get(base(image)).ok_or_else(|| Unknown {
            image: image.to_owned(),
            known: self
                .known
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// The `mesh` binary.
    pub(super) fn mesh(&self) -> &Path {
        &self.mesh
    }

    /// Where a container's own `command` leads: `mesh`, in whatever folder an image has it and by
    /// whatever name it goes there, is ours; anything else is taken from this machine.
    pub(super) fn command(&self, program: &str) -> PathBuf {
        let path = Path::new(program);
        match path.file_name() {
            Some(name) if name == "mesh" || name == AWAIT => self.mesh.clone(),
            _ => path.to_owned(),
        }
    }
}

/// An image without registry defaults, tag and digest.
fn base(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let image = match (image.rfind(':'), image.rfind('/')) {
        (Some(colon), slash) if slash.is_none_or(|s| s < colon) => &image[..colon],
        _ => image,
    };
    image
        .strip_prefix("docker.io/library/")
        .or_else(|| image.strip_prefix("docker.io/"))
        .unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_digests_and_default_registries_do_not_matter() {
        let table = [
            ("mesh.io/proxy", "mesh.io/proxy"),
            ("mesh.io/proxy:v1.2", "mesh.io/proxy"),
            ("mesh.io/proxy:v1@sha256:00", "mesh.io/proxy"),
            ("localhost:5000/web", "localhost:5000/web"),
            ("localhost:5000/web:1", "localhost:5000/web"),
            ("docker.io/library/test:1", "test"),
            ("test", "test"),
        ];
        for (image, expected) in table {
            assert_eq!(base(image), expected, "{image}");
        }
    }

    #[test]
    fn an_unknown_image_is_answered_with_the_known_ones() {
        let images = Images::new(Path::new("/m/mesh"), &["test=/bin/sh".into()]).unwrap();
        let program = images.find("registry.k8s.io/pause:3.10").unwrap();
        assert_eq!(
            (program.path.to_str(), &program.leading[..]),
            (Some("/m/mesh"), &["pause".to_owned()][..])
        );
        assert_eq!(images.find("test:2").unwrap().path, Path::new("/bin/sh"));
        let error = images.find("nginx").unwrap_err().to_string();
        assert!(
            error.contains("\"nginx\"") && error.contains("mesh.io/mesh") && error.contains("test")
        );
    }

    #[test]
    fn a_flag_without_a_path_is_refused() {
        for flag in ["test", "=/bin/sh", "test=", "test=sh"] {
            assert!(
                Images::new(Path::new("/m"), &[flag.to_owned()]).is_err(),
                "{flag}"
            );
        }
    }
}
