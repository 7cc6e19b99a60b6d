//! A small data set, and the settings of small runs on it.

use crate::reliability::Result;
use std::fs;
use std::path::Path;

/// Rows and columns of the images.
const SIDE: usize = 8;

/// Steps of a training run, with a checkpoint after every second.
pub const STEPS: u32 = 6;

/// Writes IDX files of three classes. The classes differ in their brightness.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for (name, count, seed) in [("train", 48, 1), ("t10k", 24, 2)] {
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let pixel = |i: usize| (i * 37 * seed % 101) as u8 + 60 * labels[i / (SIDE * SIDE)];
        let pixels: Vec<u8> = (0..count * SIDE * SIDE).map(pixel).collect();
        for (file, sizes, values) in
            [("images-idx3", &[count, SIDE, SIDE][..], &pixels), ("labels-idx1", &[count][..], &labels)]
        {
            let mut bytes = vec![0, 0, 8, sizes.len() as u8];
            bytes.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
            bytes.extend(values);
            let path = folder.join(format!("{name}-{file}-ubyte"));
            fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

/// Settings of a denoiser: training, validation and grids of samples.
pub fn denoiser(data: &Path) -> String {
    format!(
        "data = {data:?}\nsize = \"tiny\"\nbatch = 4\nwarmup = 2\ntimesteps = 50\nblock_out_channels = [4, 4]\n\
         attention = [false, false]\nlayers_per_block = 1\nnorm_num_groups = 4\nvalidation_count = 4\n\
         validate_every = 3\nsample_every = 3\nsampling_steps = 2\ncheckpoint_every = 2\nkeep_checkpoints = 3\n\
         steps = {STEPS}\n"
    )
}

/// Settings of a feature extractor with eight features.
pub fn classifier(data: &Path) -> String {
    format!(
        "data = {data:?}\npreset = \"classifier\"\nnoise_aware = false\nsize = \"tiny\"\nbatch = 8\nwarmup = 2\n\
         block_out_channels = [8, 8]\nattention = [false, false]\nnorm_num_groups = 4\nvalidation_count = 4\n\
         validate_every = 20\nsample_every = 20\ncheckpoint_every = 20\nsteps = 20\n"
    )
}
