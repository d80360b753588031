"""Keys and certificates for tests, made by openssl."""
import os
import subprocess


def openssl(directory, *words):
    return subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True,
                          text=True, timeout=60).stdout


def make_certificate(directory, name, *hosts, issuer=None, days="30"):
    """name.key, and a certificate name.pem of `issuer` or of itself."""
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", days, "-subj",
             f"/CN={hosts[0]}", "-addext",
             "subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts)]
    if issuer:
        words += ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-addext",
                  "basicConstraints=critical,CA:FALSE"]
    openssl(directory, *words)
    os.chmod(directory / f"{name}.key", 0o644)


def make_crl(directory, revoked):
    """Of ca.pem, with the certificates that it revokes."""
    (directory / "index.txt").write_text("")
    (directory / "crlnumber").write_text("01\n")
    (directory / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\n"
        "default_crl_days=30\n")
    base = ["ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"]
    for name in revoked:
        openssl(directory, *base, "-revoke", f"{name}.pem")
    openssl(directory, *base, "-gencrl", "-out", "ca.crl")
