//! Lists of revoked certificates (CRLs, RFC 5280 section 5) from files, in PEM or in DER.
//!
//! Who verifies by them verifies strictly, as OpenSSL's `X509_V_FLAG_CRL_CHECK_ALL` does: every certificate of a chain but
//! the trusted one needs a list of its issuer's that is not past its `nextUpdate`, else the chain is not accepted. A file
//! that holds no list is a fault, never no list.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;

use super::der::{self, Seconds};
use super::faults::FileFault;
use crate::model::problem::ProblemCode;

/// The largest file that is read: lists of public authorities have some megabytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// What a file in PEM has somewhere (RFC 7468 section 2).
const PEM: &[u8] = b"-----BEGIN ";

/// Why a file of lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListFault {
    /// It cannot be read.
    #[error("{path}: {source}; check that it exists and that this program may read it", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Larger than any list.
    #[error("{path} is larger than 64 MiB; it should hold lists of revoked certificates", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it, or something else.
    #[error("{path} holds no list of revoked certificates (CRL) in PEM or DER form that can be used: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl ListFault {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::TooLarge { path } | Self::Unusable { path, .. } => path,
        }
    }

    /// The problem that it is while what was read before goes on.
    pub fn problem(&self) -> FileFault {
        FileFault {
            code: ProblemCode::InvalidRevocationList,
            file: self.path().to_owned(),
            message: format!("{self}; the lists that were read before go on being used"),
            mend: "write the authority's current list into the file",
            from: None,
        }
    }
}

/// The lists of some files.
#[derive(Debug, Default)]
pub struct RevocationLists(Vec<List>);

#[derive(Debug)]
struct List {
    file: PathBuf,
    der: CertificateRevocationListDer<'static>,
    issued: Seconds,
    ends: Seconds,
}

/// A file of lists, and when one of them is out of date.
pub type ListEnd = (PathBuf, Seconds);

impl RevocationLists {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn read(files: &[PathBuf]) -> Result<Self, ListFault> {
        let mut lists = Vec::new();
        for file in files {
            lists.extend(read(file)?);
        }
        // Whoever verifies takes the first list that speaks of a certificate: of two lists of one issuer, the newer.
        lists.sort_by_key(|list| std::cmp::Reverse(list.issued));
        Ok(Self(lists))
    }

    /// The lists themselves, the newest first.
    pub fn ders(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> + '_ {
        self.0.iter().map(|list| list.der.clone())
    }

    /// When each is out of date, by its file.
    pub fn ends(&self) -> Vec<ListEnd> {
        self.0.iter().map(|list| (list.file.clone(), list.ends)).collect()
    }
}

/// The problems that lists become when they are out of date.
pub fn ending(ends: &[ListEnd]) -> impl Iterator<Item = FileFault> + '_ {
    ends.iter().map(|(file, ends)| FileFault {
        code: ProblemCode::InvalidRevocationList,
        file: file.clone(),
        message:
            "the list of revoked certificates is past its `nextUpdate`: no certificate that it speaks of is accepted"
                .to_owned(),
        mend: "write the authority's current list into the file",
        from: Some(*ends),
    })
}

fn read(path: &Path) -> Result<Vec<List>, ListFault> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => return Err(ListFault::Read { path: path.to_owned(), source }),
        Ok(length) if length as u64 > MAX_FILE_BYTES => return Err(ListFault::TooLarge { path: path.to_owned() }),
        Ok(_) => {}
    }
    let unusable = |reason: String| ListFault::Unusable { path: path.to_owned(), reason };
    let ders = match bytes.windows(PEM.len()).any(|window| window == PEM) {
        true => CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>(),
        false => Ok(vec![bytes.into()]),
    };
    let ders = ders.map_err(|error| unusable(error.to_string()))?;
    if ders.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    let list = |der: CertificateRevocationListDer<'static>| {
        webpki::BorrowedCertRevocationList::from_der(&der).map_err(|error| unusable(error.to_string()))?;
        let (issued, ends) = der::list_times(&der).ok_or_else(|| unusable("it has no `nextUpdate`".to_owned()))?;
        Ok(List { file: path.to_owned(), der, issued, ends })
    };
    ders.into_iter().map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(number: u64, year: i32) -> rcgen::CertificateRevocationList {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap());
        rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(year, 1, 1),
            next_update: rcgen::date_time_ymd(year + 1, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
        .signed_by(&issuer)
        .unwrap()
    }

    #[test]
    fn pem_and_der_are_read_and_the_newest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let (pem, der) = (folder.path().join("pem"), folder.path().join("der"));
        let (old, middle, new) = (list(1, 2020), list(2, 2025), list(3, 2060));
        fs::write(&pem, format!("a word before\n{}{}", old.pem().unwrap(), new.pem().unwrap())).unwrap();
        fs::write(&der, middle.der()).unwrap();
        let lists = RevocationLists::read(&[pem.clone(), der.clone()]).unwrap();
        assert!(lists.ders().eq([&new, &middle, &old].map(|list| list.der().clone())));
        let seconds = |year| rcgen::date_time_ymd(year, 1, 1).unix_timestamp();
        let ends = [(pem.clone(), seconds(2061)), (der.clone(), seconds(2026)), (pem, seconds(2021))];
        assert_eq!(lists.ends(), ends);
        assert!(ending(&ends).all(|fault| fault.from.is_some()));
    }

    #[test]
    fn what_is_no_list_is_never_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lists");
        let certificate = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert;
        let cut = list(1, 2025).der().split_last().unwrap().1.to_vec();
        for wrong in [Vec::new(), b"nonsense".to_vec(), certificate.pem().into_bytes(), certificate.der().to_vec(), cut]
        {
            fs::write(&file, wrong).unwrap();
            let fault = RevocationLists::read(std::slice::from_ref(&file)).unwrap_err();
            assert!(matches!(fault, ListFault::Unusable { .. }), "{fault}");
            assert!(fault.to_string().contains("lists"), "{fault}");
        }
        let missing = RevocationLists::read(&[folder.path().join("missing")]).unwrap_err();
        assert!(matches!(missing, ListFault::Read { .. }) && missing.path().ends_with("missing"), "{missing}");
    }
}
