//! Tests of the library, in one program: linking wgpu once is faster than linking it twenty times.
//!
//!     cargo test --release --test it            # all of them
//!     cargo test --release --test it ddim       # tests whose path contains `ddim`

#[path = "../common/mod.rs"]
mod common;

mod absent_tokens; // attention with large numbers past the end of a row
mod any_size; // images whose sides cannot be halved
mod architecture; // layers and imports, read from the sources
mod buffers; // uploads
mod data; // IDX files
mod data_folder; // folders of image files: classes, labels, cache
mod data_formats; // CIFAR-10, downsampled ImageNet, npz
mod data_images; // image files of every kind
mod device_faults; // devices that are lost, out of memory, or skip a submission
mod diffusion; // schedules, processes, samplers, on data with known answers
mod dispatches; // calls of a step on a GPU
mod exports; // checkpoints that diffusers samples
mod fast_math; // sums that a compiler may reorder
mod folded_grids; // which kernels a folded grid may launch
mod fourier_features; // features of bytes against closed forms
mod importance; // importance sampling of timesteps over many steps
mod initial_model; // runs that start from the weights of another model
mod kernel_choices; // forms of kernels, measured and kept
mod late_sums; // sums at the end of backward
mod latent_prior; // mixtures of Gaussians fitted to an autoencoder's latents
mod likelihood; // variational bound, ELBO and probability flow against closed forms
mod metrics; // Frechet distance, KID, precision and recall, balance
mod models; // networks against diffusers
mod networks; // networks against their references, kernel by kernel
mod objective; // an objective that is implemented outside the crate
mod onnx_nodes; // operators against the node tests of ONNX
mod output; // PNG, plots, npz, TensorBoard
mod pooling; // ties of max pooling
mod preset_gradients; // gradients of training steps against PyTorch
mod presets; // every preset trains, resumes and samples
mod profile; // measured peaks and profiles
mod random; // random streams
mod ranks; // training that several ranks divide
mod repeated_images; // conditions of two passes over the same images
mod runs; // trains and reads the files of a run, for presets and training
mod sampling; // samplers against diffusers
mod settings; // settings that a run refuses
mod shaders; // every shader through the compilers of naga
mod shared_gradients; // gradients without copies
mod submissions; // programs in several submissions
mod tape; // recording, gradients, the memory plan
mod training; // runs: resume, interruption, damaged files
mod verify; // the verifier notices wrong kernels
