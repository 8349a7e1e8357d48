# A server of one model and one index: no Keras, no JAX, 300 MB of packages.
#   docker build -t twinset-serve .
#   docker run -p 8000:8000 -v ./runs/photos:/model:ro -v ./photos.index:/index twinset-serve
FROM python:3.13-slim
WORKDIR /twinset
RUN useradd --uid 10001 --no-create-home twinset
COPY pyproject.toml requirements.lock README.md LICENSE ./
# Not compiled but for what a server imports, and without tests of packages: 90 MB less.
RUN pip install --no-cache-dir --upgrade "pip>=25.1" \
    && pip install --no-cache-dir --no-compile -c requirements.lock --group serving \
    && find /usr/local/lib/python3.13/site-packages -name tests -prune -exec rm -r {} +
COPY packaging/readme.py packaging/
COPY src src
RUN pip install --no-cache-dir --no-deps . && python -c "import twinset.server.running"
USER twinset
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://localhost:8000/health/ready', timeout=3)"]
ENTRYPOINT ["twinset", "serve", "--host", "0.0.0.0"]
CMD ["/model", "--index", "/index"]
