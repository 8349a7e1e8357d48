"""The others: deepface's API shape on Flask, and LitServe with batching; both on our graph.

Flask is served by gunicorn, as deepface's Dockerfile does. LitServe runs on its own:

python benchmarks/serve_contestants.py PORT BATCH
"""

import base64
import io
import os
import sys
import time

import flask
import litserve
import numpy as np
import onnxruntime
from PIL import Image


def open_graph():
    """Open the graph as deepface would a model: ONNX Runtime as it comes."""
    session = onnxruntime.InferenceSession(os.environ["GRAPH"], providers=["CPUExecutionProvider"])
    _, *shape = session.get_inputs()[0].shape
    return session, tuple(shape)


def pixels(text, shape):
    """Decode base64, with or without `data:image/png;base64,` before it."""
    content = base64.b64decode(text.rpartition(",")[2])
    image = Image.open(io.BytesIO(content)).convert("L" if len(shape) == 2 else "RGB")
    if image.size != shape[1::-1]:
        image = image.resize(shape[1::-1])
    return np.asarray(image, np.uint8)


def flask_app():
    """Make the app: /represent and /verify, JSON with base64 images, one inference a request."""
    session, shape = open_graph()
    threshold = float(os.environ["THRESHOLD"])
    app = flask.Flask(__name__)

    def embed(*texts):
        given = np.stack([pixels(text, shape) for text in texts])
        return session.run(None, {"images": given})[0]

    @app.get("/health")
    def health():
        return {"ok": True}

    @app.post("/represent")
    def represent():
        vectors = embed(flask.request.get_json()["img"])
        return {"results": [{"embedding": vectors[0].tolist(), "face_confidence": 1.0}]}

    @app.post("/verify")
    def verify():
        started = time.time()
        asked = flask.request.get_json()
        left, right = embed(asked["img1"], asked["img2"])
        far = float(np.linalg.norm(left - right))
        return {
            "verified": far <= threshold,
            "distance": far,
            "threshold": threshold,
            "model": "onnx",
            "similarity_metric": "euclidean",
            "time": round(time.time() - started, 2),
        }

    return app


class Verify(litserve.LitAPI):
    """Both questions, for LitServe: what waits is taken at once, up to so many requests."""

    def setup(self, device):
        """Open the graph, in the process that infers."""
        self.session, self.shape = open_graph()
        self.threshold = float(os.environ["THRESHOLD"])

    def decode_request(self, request):
        """Read one or two images."""
        texts = [request["img"]] if "img" in request else [request["img1"], request["img2"]]
        return np.stack([pixels(text, self.shape) for text in texts])

    def batch(self, inputs):
        """Put the images of several requests together."""
        self.ends = np.cumsum([len(each) for each in inputs])
        return np.concatenate(inputs)

    def predict(self, given):
        """Embed them."""
        return self.session.run(None, {"images": given})[0]

    def unbatch(self, output):
        """Take them apart."""
        return np.split(output, self.ends[:-1])

    def encode_response(self, output):
        """Answer in deepface's shape."""
        if len(output) == 1:
            return {"results": [{"embedding": output[0].tolist()}]}
        far = float(np.linalg.norm(output[0] - output[1]))
        return {"verified": far <= self.threshold, "distance": far, "threshold": self.threshold}


def serve_with_litserve(port, batch):
    """Start LitServe; a batch of 0 seconds' wait, which answered fastest here."""
    api = Verify(max_batch_size=batch, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    serve_with_litserve(int(sys.argv[1]), int(sys.argv[2]))
