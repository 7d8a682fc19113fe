//! A key and the request to certify it, as files.
//!
//! Our own processes keep keys in memory ([`crate::certify_loop`]). Other sidecars with Linkerd's
//! interface read theirs from a folder, where somebody must have put them before they start.

use crate::{Id, certify};
use rustls_pki_types::PrivateKeyDer;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The private key: PKCS#8, DER.
const KEY: &str = "key.p8";
/// The request: PKCS#10, DER.
const REQUEST: &str = "csr.der";

/// Why the files are not there.
#[derive(Debug, thiserror::Error)]
pub enum EndEntityError {
    /// No key or no request could be made.
    #[error("cannot make a key for {id}: {reason}")]
    Key {
        /// Whose.
        id: Id,
        /// What the library says.
        reason: String,
    },
    /// They could be made, but not written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What writing it said.
        source: io::Error,
    },
}

/// Makes a new P-256 key and a request that names `id` alone, and writes both into `dir`, which
/// must be there: `key.p8` (PKCS#8) and `csr.der` (PKCS#10), for their owner's eyes only. What an
/// earlier run left there is replaced.
///
/// # Errors
/// When no key can be made, or a file cannot be written.
pub fn write_end_entity(dir: &Path, id: &Id) -> Result<(), EndEntityError> {
    let failed = |reason: String| EndEntityError::Key {
        id: id.clone(),
        reason,
    };
    let (key, request) = certify::request(id).map_err(|error| failed(error.to_string()))?;
    let PrivateKeyDer::Pkcs8(key) = key else {
        return Err(failed("it is not PKCS#8".to_owned()));
    };
    write(&dir.join(KEY), key.secret_pkcs8_der())?;
    write(&dir.join(REQUEST), &request)
}

/// Written beside and moved into place: nobody reads half of it, and no link leads elsewhere.
fn write(path: &Path, bytes: &[u8]) -> Result<(), EndEntityError> {
    let written = || {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    written().map_err(|source| EndEntityError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use x509_parser::{
        certification_request::X509CertificationRequest, extensions::ParsedExtension,
        prelude::FromDer as _, prelude::GeneralName,
    };

    const NAME: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";

    #[test]
    fn the_request_is_signed_by_the_key_beside_it_and_names_the_workload_alone() {
        let dir = tempfile::tempdir().unwrap();
        write_end_entity(dir.path(), &NAME.parse().unwrap()).unwrap();
        let request = fs::read(dir.path().join(REQUEST)).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&request).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject.to_string(), format!("CN={NAME}"));
        let names: Vec<_> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(names, [&GeneralName::DNSName(NAME)]);
        let key = fs::read(dir.path().join(KEY)).unwrap();
        let key = rcgen::KeyPair::try_from(key.as_slice()).unwrap();
        assert_eq!(key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(
            info.subject_pki.subject_public_key.data,
            key.public_key_raw()
        );
    }

    #[test]
    fn files_are_their_owners_alone_and_every_run_makes_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let id = NAME.parse().unwrap();
        // What lies there from before is neither kept nor followed.
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        symlink(&elsewhere, dir.path().join(KEY)).unwrap();
        fs::write(dir.path().join("csr.new"), "half").unwrap();
        write_end_entity(dir.path(), &id).unwrap();
        let first = fs::read(dir.path().join(KEY)).unwrap();
        write_end_entity(dir.path(), &id).unwrap();
        assert_ne!(fs::read(dir.path().join(KEY)).unwrap(), first);
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
        for name in [KEY, REQUEST] {
            let file = fs::symlink_metadata(dir.path().join(name)).unwrap();
            assert!(file.is_file(), "{name}");
            assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [REQUEST, "elsewhere", KEY]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no");
        let error = write_end_entity(&missing, &NAME.parse().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no/key.p8") && text.contains("No such file"),
            "{text}"
        );
        assert!(!missing.exists());
    }
}
