"""What is on a sheet of images: its texts, its pictures, and what is wrong with their places."""


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def drawn(figure):
    return [image for axes in figure.axes for image in axes.images]


def tops(figure):
    """The upper edge of each image, in inches from the top."""
    return [round(image.get_extent()[3], 6) for image in drawn(figure)]


def pixels(figure):
    return [image.get_array() for image in drawn(figure)]


def troubles(figure):
    """Pairs of texts whose ink meets, texts on images, and texts that leave the figure."""
    figure.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for axes in figure.axes
        for text in axes.texts
        if text.get_text()
    ]
    boxes += [("image", image.get_window_extent()) for image in drawn(figure)]
    meet = [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[:i]
        if box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1
    ]
    page = figure.bbox
    return meet + [
        text
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1
    ]
