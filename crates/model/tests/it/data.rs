use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use model::{Dataset, Selection, Source, Split};

use crate::support::reference;

fn read(source: &Source) -> Result<Dataset, String> {
    source.read(Split::Train, &Selection::default()).map_err(|error| error.to_string())
}

fn idx(path: &Path, dimensions: &[u32], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(values);
    let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::default());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap();
}

fn ppm(path: &Path, height: usize, width: usize, values: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
    bytes.extend(values);
    fs::write(path, bytes).unwrap();
}

#[test]
fn idx_images_are_read_selected_and_renumbered() {
    let folder = tempfile::tempdir().unwrap();
    let [images, labels] = ["i.gz", "l.gz"].map(|name| folder.path().join(name));
    // Three colour images of one row and two columns, channels first.
    idx(&images, &[3, 3, 1, 2], &(0..18).map(|i| i * 10).collect::<Vec<u8>>());
    idx(&labels, &[3], &[7, 2, 7]);
    let source = Source::Idx { images: images.clone(), labels: labels.clone() };
    let all = read(&source).unwrap();
    assert_eq!((all.shape(), all.len(), all.n_classes()), ([3, 1, 2], 3, 8));
    assert_eq!(all.sample(1), [60, 70, 80, 90, 100, 110].map(|byte| byte as f32 / 255.0));
    let selection = Selection { classes: vec![7, 2], ..Selection::default() };
    let selected = source.read(Split::Train, &selection).unwrap();
    assert_eq!((selected.labels(), selected.n_classes()), (&[0, 1, 0][..], 2));
    let absent = Selection { classes: vec![7, 3], ..Selection::default() };
    let error = source.read(Split::Train, &absent).unwrap_err().to_string();
    assert!(error.contains("class 3 is empty"), "{error}");

    idx(&labels, &[2], &[7, 2]);
    assert!(read(&source).unwrap_err().contains("expected 3 labels"));
    idx(&images, &[3, 3, 1, 2], &[0; 17]);
    assert!(read(&source).unwrap_err().contains("truncated"));
    let bytes = fs::read(&images).unwrap();
    fs::write(&images, &bytes[..bytes.len() - 9]).unwrap();
    assert!(read(&source).unwrap_err().contains("truncated"));
    fs::write(&images, "no IDX").unwrap();
    assert!(read(&source).unwrap_err().contains("expected an IDX file"));
}

#[test]
fn missing_data_name_the_files_to_place() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&Source::Mnist(folder.path().to_owned())).unwrap_err();
    assert!(error.contains("train-images-idx3-ubyte.gz") && error.contains("train-labels-idx1-ubyte.gz"), "{error}");
    let error = read(&Source::Gtsrb { folder: folder.path().to_owned(), cut: false }).unwrap_err();
    assert!(error.contains("GTSRB/Training") && error.contains("idx4"), "{error}");
}

#[test]
fn folders_of_images_are_read_by_class() {
    let folder = tempfile::tempdir().unwrap();
    ppm(&folder.path().join("10/a.ppm"), 2, 2, &[255; 12]);
    ppm(&folder.path().join("9/b.ppm"), 2, 2, &[0, 51, 102, 0, 51, 102, 0, 51, 102, 0, 51, 102]);
    let colour = Source::Images { folder: folder.path().to_owned(), channels: 3 };
    let data = read(&colour).unwrap();
    // Folders that are numbers are ordered as numbers.
    assert_eq!((data.labels(), data.shape()), (&[0, 1][..], [3, 2, 2]));
    assert_eq!(data.sample(0), [0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4, 0.4]);
    let grey = read(&Source::Images { folder: folder.path().to_owned(), channels: 1 }).unwrap();
    // 0.587 · 51 + 0.114 · 102 = 41.6.
    assert_eq!(grey.sample(0), [42.0 / 255.0; 4]);

    ppm(&folder.path().join("9/c.ppm"), 3, 2, &[0; 18]);
    assert!(read(&colour).unwrap_err().contains("3×2 but the first is 2×2"));
    let scaled = Selection { size: Some([2, 2]), ..Selection::default() };
    assert_eq!(colour.read(Split::Train, &scaled).unwrap().len(), 3);
    fs::create_dir(folder.path().join("11")).unwrap();
    assert!(read(&colour).unwrap_err().contains("the class is empty"));
    fs::write(folder.path().join("11/d.png"), "no image").unwrap();
    let error = colour.read(Split::Train, &scaled).unwrap_err().to_string();
    assert!(error.contains("d.png"), "{error}");
}

#[test]
fn the_original_gtsrb_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let training = folder.path().join("GTSRB/Training/00007");
    let values: Vec<u8> = (0..36).collect();
    ppm(&training.join("00000.ppm"), 3, 4, &values);
    let header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n";
    fs::write(training.join("GT-00007.csv"), format!("{header}00000.ppm;4;3;1;1;2;2;7\n")).unwrap();
    let source = |cut| Source::Gtsrb { folder: folder.path().to_owned(), cut };
    let whole = read(&source(false)).unwrap();
    assert_eq!((whole.shape(), whole.labels(), whole.n_classes()), ([3, 3, 4], &[7][..], 43));
    let sign = read(&source(true)).unwrap();
    assert_eq!(sign.shape(), [3, 2, 2]);
    // Rows 1 and 2, columns 1 and 2 of the red channel.
    assert_eq!(sign.sample(0)[..4], [15.0, 18.0, 27.0, 30.0].map(|v: f32| v / 255.0));

    fs::write(training.join("GT-00007.csv"), format!("{header}00000.ppm;4;3;1;1;2;2\n")).unwrap();
    let error = read(&source(false)).unwrap_err();
    assert!(error.contains("GT-00007.csv:2"), "{error}");
    fs::write(training.join("GT-00007.csv"), format!("{header}00000.ppm;4;3;1;1;9;2;7\n")).unwrap();
    assert!(read(&source(true)).unwrap_err().contains("sticks out"));
    let error = source(false).read(Split::Test, &Selection::default()).unwrap_err().to_string();
    assert!(error.contains("GT-final_test.csv"), "{error}");
    let images = folder.path().join("GTSRB/Final_Test/Images");
    ppm(&images.join("00000.ppm"), 3, 4, &values);
    fs::write(folder.path().join("GT-final_test.csv"), format!("{header}00000.ppm;4;3;1;1;2;2;11\n")).unwrap();
    assert_eq!(source(false).read(Split::Test, &Selection::default()).unwrap().labels(), [11]);
}

#[test]
fn tables_are_read_and_their_mistakes_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    fs::write(&file, "a,kind,b\n1.5,0,-2\n3,2,4\n").unwrap();
    let csv = |label: Option<&str>| Source::Csv { file: file.clone(), label: label.map(Into::into) };
    let data = read(&csv(Some("kind"))).unwrap();
    assert_eq!((data.shape(), data.labels(), data.n_classes()), ([1, 1, 2], &[0, 2][..], 3));
    assert_eq!(data.sample(0), [1.5, -2.0]);
    assert!(read(&csv(None)).unwrap_err().contains("t.csv:2: column 'b'"));
    assert!(read(&csv(Some("c"))).unwrap_err().contains("no column 'c'"));
    for (content, expected) in [
        ("a,b\n1,0\n1\n", "t.csv:3: expected 2 fields"),
        ("a,b\nNaN,0\n", "t.csv:2: column 'a'"),
        ("a,b\n", "no sample"),
        ("", "empty"),
    ] {
        fs::write(&file, content).unwrap();
        let error = read(&csv(None)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

fn npy(path: &Path, kind: &str, shape: &str, data: &[u8]) -> PathBuf {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    fs::write(path, bytes).unwrap();
    path.to_owned()
}

#[test]
fn arrays_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = [0.5_f32, 1.0, -1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let values = npy(&folder.path().join("x.npy"), "<f4", "(2, 2)", &data);
    let labels: Vec<u8> = [1_i64, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let labels = npy(&folder.path().join("y.npy"), "<i8", "(2,)", &labels);
    let source = Source::Npy { values: values.clone(), labels };
    let read_back = read(&source).unwrap();
    assert_eq!(
        (read_back.shape(), read_back.labels(), read_back.sample(1)),
        ([1, 1, 2], &[1, 0][..], &[-1.0, 2.0][..])
    );
    npy(&values, "<f4", "(2, 2)", &data[..12]);
    assert!(read(&source).unwrap_err().contains("truncated"));
    npy(&values, "<c8", "(2, 2)", &data);
    assert!(read(&source).unwrap_err().contains("c8"));
    fs::write(&values, b"\x93NUMPY").unwrap();
    assert!(read(&source).unwrap_err().contains("header"));
}

#[test]
fn generated_shapes_depend_on_the_seed_alone() {
    let shapes = |seed| read(&Source::Shapes { n: 12, size: 9, seed }).unwrap();
    assert_eq!(shapes(1), shapes(1));
    assert_ne!(shapes(1), shapes(2));
    assert_eq!(shapes(1).class_sizes(), [3; 4]);
    assert!(shapes(1).is_image());
    assert!(read(&Source::Shapes { n: 12, size: 3, seed: 0 }).is_err());
}

#[test]
fn splits_keep_every_sample_and_the_shares_of_classes() {
    let data = read(&Source::Shapes { n: 80, size: 8, seed: 1 }).unwrap();
    let (first, second) = data.split(0.25, 5).unwrap();
    assert_eq!((first.class_sizes(), second.class_sizes()), (vec![15; 4], vec![5; 4]));
    let mut samples: Vec<Vec<u32>> = [&first, &second]
        .iter()
        .flat_map(|part| (0..part.len()).map(|i| part.sample(i).iter().map(|v| v.to_bits()).collect()))
        .collect();
    let mut all: Vec<Vec<u32>> = (0..80).map(|i| data.sample(i).iter().map(|v| v.to_bits()).collect()).collect();
    samples.sort();
    all.sort();
    assert_eq!(samples, all);
    assert!(data.split(0.0, 1).is_err() && data.split(f64::NAN, 1).is_err());
}

#[test]
fn the_reference_data_sets_are_read() {
    let Some(folder) = reference() else { return };
    let folder = folder.join("datasets");
    let peer = Selection { classes: vec![1, 3, 5, 7, 9], size: Some([4, 4]), limit: None };
    let mnist = Source::Mnist(folder.clone()).read(Split::Test, &peer).unwrap();
    assert_eq!((mnist.shape(), mnist.n_classes()), ([1, 4, 4], 5));
    assert!(mnist.len() > 400 && mnist.len() < 600);
    let peer = Selection { classes: vec![2, 7, 14, 17, 36], size: Some([4, 4]), limit: None };
    let gtsrb = Source::Gtsrb { folder, cut: false }.read(Split::Test, &peer).unwrap();
    assert_eq!((gtsrb.shape(), gtsrb.n_classes()), ([3, 4, 4], 5));
}
