//! Which images are held out for validation: a random share of each class.
//!
//! The last images of the file would not do: a data set that is sorted by class would lose its last
//! class.

use super::config::{Settings, Size};
use crate::Result;
use crate::data::Dataset;
use crate::metrics::subset::subset;

/// Number of the subsets, which differ from those of evaluations.
const SUBSET: u32 = 0x401d;
/// The choice does not depend on the run's seed, so runs on the same data can be compared.
const SEED: u64 = 0;

/// One image in this many is held out by default.
const SHARE: usize = 20;

/// The settings with the default number of validation images, if they have none: 5 % of the images,
/// and at most the number of the preset.
///
/// # Errors
/// Settings that do not fit each other.
pub(super) fn with_default(settings: Settings, images: usize) -> Result<Settings> {
    if settings.validation_count.is_some() {
        return Ok(settings);
    }
    let most = settings.clone().resolve(Size::Tiny)?.validation_count;
    let share = images.div_ceil(SHARE).min(images.saturating_sub(1));
    Ok(Settings { validation_count: Some(most.min(share as u32)), ..settings })
}

/// Moves `count` images to the end of the data set, in random order: from each class its share,
/// rounded.
pub(super) fn move_to_end(data: &mut Dataset, count: usize) {
    let first = data.count - count;
    let chosen = choose(&data.labels, count);
    // A place of the tail is free for a chosen image if its own image stays in training. Chosen
    // images that are in the tail already are exchanged among themselves.
    let is_chosen = {
        let mut is_chosen = vec![false; data.count];
        chosen.iter().for_each(|&image| is_chosen[image] = true);
        is_chosen
    };
    let free = (first..data.count).filter(|&place| !is_chosen[place]);
    let outside: Vec<usize> = chosen.iter().copied().filter(|&image| image < first).collect();
    for (image, place) in outside.into_iter().zip(free.collect::<Vec<_>>()) {
        data.swap(image, place);
    }
    // Now the tail holds the chosen images. Shuffle it.
    for (place, from) in subset(count, count, [SUBSET, u32::MAX], SEED).into_iter().enumerate() {
        data.swap(first + place, first + from);
    }
}

/// Indices of `count` images with each class's share.
fn choose(labels: &[u32], count: usize) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut of_class = vec![vec![]; classes];
    labels.iter().enumerate().for_each(|(image, &label)| of_class[label as usize].push(image));
    let exact = |images: &Vec<usize>| (images.len() * count) as f64 / labels.len() as f64;
    let mut shares: Vec<usize> = of_class.iter().map(|images| exact(images) as usize).collect();
    // The largest remainders get the images that rounding down leaves. A class keeps its last image,
    // if others have more: the model could not learn it.
    for _ in shares.iter().sum::<usize>()..count {
        let order =
            |class: usize| (of_class[class].len() > shares[class] + 1, exact(&of_class[class]) - shares[class] as f64);
        let first = |&a: &usize, &b: &usize| order(b).0.cmp(&order(a).0).then(order(b).1.total_cmp(&order(a).1));
        let open = (0..classes).filter(|&class| of_class[class].len() > shares[class]);
        let class = open.min_by(first).expect("fewer images are chosen than there are");
        shares[class] += 1;
    }
    let choose = |(class, (images, share)): (usize, (&Vec<usize>, usize))| -> Vec<usize> {
        subset(images.len(), share, [SUBSET, class as u32], SEED).into_iter().map(|row| images[row]).collect()
    };
    of_class.iter().zip(shares).enumerate().flat_map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// 300 images sorted by class: 200 of class 0, 90 of class 1, 10 of class 2. Every image has
    /// its number in its bytes.
    fn sorted() -> Dataset {
        let images = (0..300u32).flat_map(|image| (image as u16).to_le_bytes()).collect();
        let labels = (0..300).map(|image| if image < 200 { 0 } else { u32::from(image >= 290) + 1 }).collect();
        Dataset::from_arrays("sorted", images, labels, [1, 1, 2])
    }

    fn number(data: &Dataset, image: usize) -> u16 {
        u16::from_le_bytes([data.image(image)[0], data.image(image)[1]])
    }

    #[test]
    fn validation_images_have_the_share_of_each_class() {
        let mut data = sorted();
        move_to_end(&mut data, 30);
        let count = |class| data.labels[270..].iter().filter(|&&label| label == class).count();
        assert_eq!([count(0), count(1), count(2)], [20, 9, 1]);
        let all: BTreeSet<u16> = (0..300).map(|image| number(&data, image)).collect();
        assert_eq!(all.len(), 300, "no image is lost");
        for image in 0..300 {
            let class = match number(&data, image) {
                0..200 => 0,
                200..290 => 1,
                _ => 2,
            };
            assert_eq!(data.labels[image], class, "an image keeps its label");
        }
        let numbers: Vec<u16> = (270..300).map(|image| number(&data, image)).collect();
        assert!(!numbers.is_sorted(), "the validation images are in random order");
        let mut again = sorted();
        move_to_end(&mut again, 30);
        assert_eq!(again.images, data.images, "the choice is the same in each run");
    }

    /// The model could not learn a class without its only image.
    #[test]
    fn validation_leaves_the_only_image_of_a_class() {
        let images: Vec<u8> = (0..12u8).flat_map(|image| [image, 0]).collect();
        let labels: Vec<u32> = (0..12u32).map(|image| image.saturating_sub(3)).collect();
        for held_out in 1..=3 {
            let mut data = Dataset::from_arrays("rare", images.clone(), labels.clone(), [1, 1, 2]);
            move_to_end(&mut data, held_out);
            assert_eq!(data.labels[12 - held_out..], vec![0; held_out]);
        }
    }

    #[test]
    fn validation_images_of_tiny_data_sets_fit() {
        for count in 1..4 {
            for held_out in 0..count {
                let images = (0..count as u8).flat_map(|image| [image, 0]).collect();
                let labels = (0..count as u32).collect();
                let mut data = Dataset::from_arrays("tiny", images, labels, [1, 1, 2]);
                move_to_end(&mut data, held_out);
                assert_eq!((0..count).map(|image| number(&data, image)).collect::<BTreeSet<_>>().len(), count);
            }
        }
    }
}
