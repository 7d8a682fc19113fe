//! Letting go of program code that only starting needed.
//!
//! Of twelve megabytes resident after a start, eight are code and constants mapped from the
//! program's file: whatever configuration, certification and discovery touched, and with each page
//! its fifteen neighbours. Nothing takes them off again by itself while a node has memory. Serving
//! touches two of the eight. What is let go of stays in the page cache, shared between all
//! sidecars of a node, and is mapped again when it is run.
//!
//! The kernel maps 64 KiB for each page that is touched, as far as the mapping goes, and what serving
//! runs is all over the program. So the mappings are parted into pieces of 16 KiB, by an advice that
//! means nothing for them: whether a core dump has them, which leaves out a program's code anyway.

use std::{fs, ops::Range};

/// How much comes back with a page that is touched.
const PIECE: usize = 16 * 1024;

/// Unmaps the pages of every mapping of a file that was never written to; how many bytes were
/// looked at. They come back from the file as they are touched, by the piece.
pub(super) fn let_go() -> usize {
    // Without /proc there is nothing to know, and nothing depends on it.
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else {
        return 0;
    };
    unwritten(&smaps)
        .into_iter()
        .map(|range| {
            part(range.clone());
            drop_pages(range)
        })
        .sum()
}

/// The address ranges in `smaps` (proc_pid_smaps(5)) that hold nothing but a file's bytes: they
/// are of a file, cannot be written, and no page of them is a private copy, as relocated tables
/// and a debugger's breakpoints are.
fn unwritten(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some("0")) => found.extend(candidate.take()),
            (Some("Anonymous:"), _) => candidate = None,
            (Some(name), _) if name.ends_with(':') => {}
            (Some(range), Some(permissions)) => {
                let of_a_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
                candidate = (of_a_file && !permissions.contains('w'))
                    .then(|| addresses(range))
                    .flatten();
            }
            _ => {}
        }
    }
    found
}

/// `from-to` in hexadecimal.
fn addresses(range: &str) -> Option<Range<usize>> {
    let (from, to) = range.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

/// Makes mappings of a piece each out of one. The first, which begins with the program's headers, stays
/// as it is: they are what core dumps have of a program.
#[expect(
    unsafe_code,
    reason = "an address range of the kernel's own list: what is read there stays as it is"
)]
fn part(range: Range<usize>) {
    use rustix::mm::{Advice, madvise};

    for start in range.clone().skip(PIECE).step_by(2 * PIECE) {
        let length = PIECE.min(range.end - start);
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: see the reason above. That there may be too many mappings leaves some as they are.
        if unsafe { madvise(start, length, Advice::LinuxDontDump) }.is_err() {
            return;
        }
    }
}

#[expect(
    unsafe_code,
    reason = "an address range of the kernel's own list, of a file's pages without private copies: \
              dropped from this process's tables, they read the same when touched again"
)]
fn drop_pages(range: Range<usize>) -> usize {
    use rustix::mm::{Advice, madvise};

    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: see the reason above; nothing is written to such a mapping, so nothing is lost.
    match unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) } {
        Ok(()) => range.len(),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 08:01 7 /usr/local/bin/mesh-proxy
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
3000-9000 r-xp 00002000 08:01 7 /usr/local/bin/mesh-proxy
Anonymous:             0 kB
9000-a000 r--p 00008000 08:01 7 /usr/local/bin/mesh-proxy
Anonymous:             4 kB
a000-b000 rw-p 00009000 08:01 7 /usr/local/bin/mesh-proxy
Anonymous:             0 kB
b000-c000 r--p 00000000 00:00 0
Anonymous:             0 kB
c000-d000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
";

    #[test]
    fn only_what_a_file_alone_can_bring_back_is_let_go() {
        assert_eq!(unwritten(SMAPS), [0x1000..0x3000, 0x3000..0x9000]);
    }

    #[test]
    fn lines_of_another_shape_are_nobodys_mapping() {
        assert!(unwritten("").is_empty());
        assert!(unwritten("zz-3000 r--p 0 0 0 /a\nAnonymous: 0 kB\n").is_empty());
        assert!(unwritten("Anonymous: 0 kB\n1000-2000 r--p").is_empty());
    }

    #[test]
    fn code_comes_back_in_small_pieces() {
        let_go();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let longest = unwritten(&smaps).iter().map(Range::len).max();
        assert!(longest.unwrap() <= PIECE, "{longest:?}");
    }

    #[test]
    fn a_program_runs_on_after_its_code_was_let_go() {
        static WORDS: &[&str] = &["a", "constant"];
        let looked_at = let_go();
        assert!(looked_at > 0, "this very program is mapped from a file");
        assert_eq!(WORDS.concat(), "aconstant");
    }
}
