//! Version numbers of ONNX Runtime.

/// `major.minor` of a version; (0, 0) when it cannot be read.
pub(crate) fn major_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_text_gives_major_and_minor() {
        assert_eq!(super::major_minor("1.32.0"), (1, 32));
        assert_eq!(super::major_minor("1.9"), (1, 9));
        assert_eq!(super::major_minor("soup"), (0, 0));
    }
}
