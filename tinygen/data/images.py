"""Images of your own, by path: an idx file, an .npz, or a folder of pictures, with a subfolder for a class.

Left out: colour (pictures become grey), frames after the first one, sets that do not fit into memory.
"""

import zipfile

import numpy as np

from ..extras import optional
from .idx import read_idx
from .paths import by_name, existing

IMAGE_KEYS = ("images", "x", "x_train")  # the arrays' names in an .npz; the first one that is there counts
LABEL_KEYS = ("labels", "y", "y_train")


def read_images(path, *, size=None):
    """Grey images in [0, 1], from an idx file, plain or gzipped, an .npz, or a folder of pictures.

    Values stay as they are: black is 0. (MNIST has its ink at 1, a scan of a page has it at 0.)

    In an .npz the images are the array called images, x or x_train, or else the only one of three dimensions;
    labels are called labels, y or y_train.

    In a folder the pictures, of any format that Pillow reads, come in the order of their names. A folder of
    subfolders is a set with classes: they come one after the other, sorted by name, and a label is a class's
    place in that order. Hidden files, and those whose names do not end like a picture's, are ignored.
    Transparent pixels lie on white, all of 16 bits count, and a photograph is turned as its camera says.

    Args:
        path: the file or folder.
        size: (height, width) that the pictures of a folder are resized to, whatever their proportions.
            Without it they have to be of one size.

    Returns:
        images: float32 (N, height, width), N at least 1; bytes are divided by 255.
        labels: int64 (N,) from an .npz with labels or a folder with subfolders, else None.

    Raises:
        FileNotFoundError: there is nothing at `path`; the message has the nearest name, if one is near.
        ValueError: an empty path; no images there, or of several sizes; a damaged file; neither bytes nor
            floats in [0, 1]; not of shape (N, height, width); labels that do not fit; pickled objects; a
            `size` that is not one, or is given for a file.
        MissingLibrary: `path` is a folder, and Pillow is not installed.
    """
    path = existing(path)
    if size is not None:
        _check_size(size)
        if not path.is_dir():
            raise ValueError(f"{path}: expected a folder of pictures to resize, got a file; leave size out")
    if path.is_dir():
        return _read_folder(path, size)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    return _checked(read_idx(path), path), None


def _check_size(size):
    whole = isinstance(size, (tuple, list)) and all(type(n) is int and n > 0 for n in size)
    if not whole or len(size) != 2:
        raise ValueError(f"read_images: expected size=(height, width) in pixels, got {size!r}; give two")


def unit_interval(values):
    """Bytes as float32 in [0, 1], divided by 255."""
    return np.divide(values, np.float32(255), dtype=np.float32)  # with no float copy in between


def _checked(images, where):
    """Bytes or floats of shape (N, height, width) as float32 in [0, 1]."""
    if images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"{where}: expected images of shape (N, height, width), none of them 0, got {images.shape}; "
            "give one grey value a pixel"
        )
    if images.dtype == np.uint8:
        return unit_interval(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"{where}: expected uint8, or floats in [0, 1], got {images.dtype}; convert it")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise ValueError(
            f"{where}: expected floats in [0, 1], got {low:.6g} to {high:.6g}; scale or clean them"
        )
    return images.astype(np.float32)


# .npz


def _read_npz(path):
    with open(
        path, "rb"
    ):  # what may not be read is told as such: is_zipfile would say that it is no zip file
        pass
    try:
        if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle, and say so
            raise ValueError("another kind of file")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        # Whatever zipfile, zlib and NumPy stumble over: 12,000 spoiled archives raised seven types.
        raise ValueError(
            f"{path}: expected an .npz of plain arrays, got {_words(error)}; write it with np.savez"
        ) from error
    # An archive may hold other files, which NumPy gives as bytes.
    arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    name = next((name for name in IMAGE_KEYS if name in arrays), None)
    if name is None:
        solid = [name for name, array in arrays.items() if array.ndim == 3]
        if len(solid) != 1:
            raise ValueError(
                f"{path}: expected images under the name {', '.join(IMAGE_KEYS)}, or a single array of three "
                f"dimensions, got {', '.join(arrays) or 'no array'}; rename one"
            )
        name = solid[0]
    images = _checked(arrays[name], f"{path}, array {name}")
    label = next((label for label in LABEL_KEYS if label in arrays), None)
    return images, None if label is None else _labels(arrays[label], len(images), f"{path}, array {label}")


def _labels(labels, count, where):
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{where}: expected {count:,} whole numbers, one an image, got {labels.dtype} of shape "
            f"{labels.shape}; give each image the number of its class"
        )
    return labels.astype(np.int64)


# folders


def _read_folder(folder, size):
    visible = [path for path in by_name(folder.iterdir(), folder) if not path.name.startswith(".")]
    classes = [path for path in visible if path.is_dir()]
    pictures = _pictures(visible)
    if classes and pictures:
        raise ValueError(
            f"{folder}: expected pictures or subfolders of them, got both ({pictures[0].name}, "
            f"{classes[0].name}/); move one of the two away"
        )
    counts = []
    for each in classes:
        found = _pictures(by_name(each.iterdir(), each))
        if not found:
            raise ValueError(f"{each}: expected pictures of a class, got none; remove the folder or fill it")
        pictures += found
        counts.append(len(found))
    if not pictures:
        raise ValueError(f"{folder}: expected pictures such as a.png, got none; is it the right folder?")
    images = []
    for file in pictures:
        image = read_picture(file, size=size)
        if images and image.shape != images[0].shape:
            (height, width), (first_height, first_width) = image.shape, images[0].shape
            raise ValueError(
                f"{file}: expected {first_width} x {first_height} pixels, as in {pictures[0].name}, got "
                f"{width} x {height}; resize all with size=({first_height}, {first_width})"
            )
        images.append(image)
    labels = np.repeat(np.arange(len(classes)), counts) if classes else None
    return np.stack(images), labels


def _pictures(paths):
    """Those of `paths` whose names end like a format that Pillow reads."""
    image = optional("PIL.Image")
    ending = {ending for ending, form in image.registered_extensions().items() if form in image.OPEN}
    return [
        path for path in paths if path.suffix.lower() in ending and path.name[0] != "." and path.is_file()
    ]


def read_picture(path, *, size=None):
    """A picture file of any format that Pillow reads, as float32 (height, width) in [0, 1]; see read_images.

    Args:
        path: the file.
        size: (height, width) that it is resized to, whatever its proportions.

    Raises:
        FileNotFoundError, ValueError, MissingLibrary: as for `read_images`.
    """
    path = existing(path)
    image, operations = optional("PIL.Image"), optional("PIL.ImageOps")
    try:
        with image.open(path) as picture:
            values = _grey(operations.exif_transpose(picture))
    except Exception as error:
        # Whatever a decoder stumbles over: 39,000 spoiled pictures raised seven types, among them TypeError.
        raise ValueError(
            f"{path}: expected a picture, got {_words(error)}; get the file again, or remove it"
        ) from error
    values = _checked(values[None], path)[0]
    if size is None or values.shape == tuple(size):
        return values
    height, width = size
    # The triangle filter has no negative lobes: unlike a sharper one it never leaves [0, 1].
    resized = image.fromarray(values).resize((width, height), image.Resampling.BILINEAR)
    return np.asarray(resized)


def _grey(picture):
    """The grey values of a Pillow image: uint8, or floats, (height, width)."""
    if picture.mode == "F":
        return np.asarray(picture)
    if picture.mode.startswith("I"):
        # 16 bits, which some formats and versions hold in 32. The usual convert("L") would clip them at 255.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{values.min()} to {values.max()}, which is more than 16 bits")
        return values / np.float64(65535)
    if "A" in picture.getbands() or "transparency" in picture.info:
        image, picture = optional("PIL.Image"), picture.convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("L"))


def _words(error):
    """What an error of a library says, or else its type."""
    return str(error) or type(error).__name__
