"""Nothing outside of a host's root is read or written, whatever links lead there."""

import os

import pytest


@pytest.fixture
def outside(tmp_path):
    """A directory outside of every host's root."""
    (tmp_path / "secret").write_text("not yours")
    return tmp_path


@pytest.mark.parametrize("host", ["visualizer", "hpc", "archive"])
@pytest.mark.parametrize("path", ["/way-out/secret", "/secret-link"])
def test_a_source_behind_a_link_that_leads_out_is_not_read(service, proxy, roots, outside, host, path):
    root = getattr(roots, host)
    link_out(root / "way-out", outside)
    link_out(root / "secret-link", outside / "secret")

    job = service.ended(proxy.move({"host": host, "path": path}, "local://archive/stolen")["id"])

    assert (job["status"], job["code"], job["who_can_fix"]) == ("FAILED", "not-allowed", "operator")
    assert host in job["reason"]
    assert "not yours" not in job["reason"]
    assert str(outside) not in job["reason"]
    assert not (roots.archive / "stolen").exists()


@pytest.mark.parametrize("host", ["visualizer", "hpc", "archive"])
@pytest.mark.parametrize("path", ["/way-out/new", "/way-out/", "/way-out/deeper/new", "/secret-link"])
def test_a_destination_behind_a_link_that_leads_out_is_not_written(service, proxy, roots, outside, host, path):
    root = getattr(roots, host)
    (roots.disk / "harmless").write_text("harmless")
    link_out(root / "way-out", outside)
    link_out(root / "secret-link", outside / "secret")

    job = service.ended(proxy.move("local://disk/harmless", {"host": host, "path": path})["id"])

    assert (job["status"], job["code"], job["who_can_fix"]) == ("FAILED", "not-allowed", "operator")
    assert [each.name for each in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "not yours"
    assert (root / "secret-link").is_symlink()
    assert [name for name in os.listdir(root) if name.startswith(".data_mover-")] == []


def link_out(link, target):
    link.unlink(missing_ok=True)
    link.symlink_to(target)
