//! Upscaling of decoded pictures to any larger size, bilinearly.

use super::image::Image;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

impl Image {
    /// The picture at another size: [`downscale`](Self::downscale)d where that is smaller, interpolated bilinearly where it
    /// is larger (colour premultiplied, as decoded), the same where it is the same.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `size` is 0; [`Error::OutOfMemory`].
    pub fn resize(&self, size: u32) -> Result<Self> {
        if size <= self.size() {
            return self.downscale(size);
        }
        let (old, new) = (self.size() as usize, size as usize);
        let values = new.saturating_mul(new).saturating_mul(self.planes().len() / (old * old));
        let mut planes: Vec<f32> = reserve("a picture", values)?;
        let places: Vec<(usize, usize, f32)> = (0..new).map(|at| between(at, old, new)).collect();
        for plane in self.planes().chunks_exact(old * old) {
            for &(above, below, down) in &places {
                let (above, below) = (&plane[above * old..][..old], &plane[below * old..][..old]);
                planes.extend(places.iter().map(|&(left, right, across)| {
                    let mix = |row: &[f32]| row[left] + (row[right] - row[left]) * across;
                    let (above, below) = (mix(above), mix(below));
                    above + (below - above) * down
                }));
            }
        }
        if planes.len() != values {
            return Err(Error::Internal("resizing a picture: its planes are not square".into()));
        }
        Ok(Self::from_planes(size, self.has_alpha(), planes))
    }
}

/// The two old pixels between whose centres the centre of a new one lies, and how far it is from the first.
fn between(at: usize, old: usize, new: usize) -> (usize, usize, f32) {
    let place = (at as f64 + 0.5) * old as f64 / new as f64 - 0.5;
    let first = place.max(0.0) as usize;
    (first, (first + 1).min(old - 1), (place - first as f64).max(0.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upscale_interpolates_between_pixel_centres() {
        let image = Image::new(2, 3, &[-1.0, 1.0, -1.0, 1.0].repeat(3)).unwrap();
        let row = [-1.0, -0.5, 0.5, 1.0];
        assert_eq!(image.resize(4).unwrap().planes(), row.repeat(12));
        assert_eq!(image.resize(2).unwrap(), image);
        assert_eq!(image.resize(1).unwrap(), image.downscale(1).unwrap());
        assert!(image.resize(0).is_err());
        let uniform = Image::new(3, 4, &[0.25; 36]).unwrap();
        assert!(uniform.resize(7).unwrap().planes().iter().all(|&value| value == 0.25));
    }
}
