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
    /// A program that this one becomes; where it is follows `leading`.
    pub(super) becomes: Option<PathBuf>,
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
#[error("{flag} {given:?}: expected NAME=PATH with an absolute path")]
pub(crate) struct BadFlag {
    flag: &'static str,
    given: String,
}

impl Images {
    /// The mesh's own images, all of them `mesh`, and those given by flag: `images` are programs
    /// as they are, `proxies` sidecars that find their key on disk.
    pub(super) fn new(mesh: &Path, images: &[String], proxies: &[String]) -> Result<Self, BadFlag> {
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
                    becomes: None,
                },
            );
        }
        for (name, path) in pairs("--image", images)? {
            let program = Program {
                path,
                leading: Vec::new(),
                becomes: None,
            };
            known.insert(name, program);
        }
        for (name, path) in pairs("--proxy-image", proxies)? {
            let program = Program {
                path: mesh.to_owned(),
                leading: ["proxy-identity", "--"].map(str::to_owned).to_vec(),
                becomes: Some(path),
            };
            known.insert(name, program);
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

/// The values of a flag: images' names without their tags, and paths.
fn pairs(flag: &'static str, given: &[String]) -> Result<Vec<(String, PathBuf)>, BadFlag> {
    let pair = |text: &String| {
        let pair = text.split_once('=');
        pair.filter(|(name, path)| !name.is_empty() && path.starts_with('/'))
            .map(|(name, path)| (base(name).to_owned(), path.into()))
            .ok_or_else(|| BadFlag {
                flag,
                given: text.clone(),
            })
    };
    given.iter().filter(|g| !g.is_empty()).map(pair).collect()
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
        let images = Images::new(Path::new("/m/mesh"), &["test=/bin/sh".into()], &[]).unwrap();
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
            let given = [flag.to_owned()];
            let said = Images::new(Path::new("/m"), &given, &[]).unwrap_err();
            assert!(said.to_string().starts_with("--image "), "{said}");
            let said = Images::new(Path::new("/m"), &[], &given).unwrap_err();
            assert!(said.to_string().starts_with("--proxy-image "), "{said}");
        }
    }

    #[test]
    fn another_proxy_is_what_the_program_that_makes_its_key_becomes() {
        let proxies = ["cr.l5d.io/linkerd/proxy=/opt/linkerd2-proxy".to_owned()];
        let images = Images::new(Path::new("/m/mesh"), &[], &proxies).unwrap();
        let program = images.find("cr.l5d.io/linkerd/proxy:edge").unwrap();
        assert_eq!(program.path, Path::new("/m/mesh"));
        assert_eq!(program.leading, ["proxy-identity", "--"]);
        let becomes = program.becomes.as_deref();
        assert_eq!(becomes, Some(Path::new("/opt/linkerd2-proxy")));
    }
}
