"""Any image with headrace beside a Dask of the last two years works; of one without, the user reads what to install."""

from __future__ import annotations

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import image


def test_dask_of_two_years_ago_computes(installation: Installation) -> None:
    script = f"""
        import distributed, headrace
        with headrace.Gateway() as gateway, gateway.new_cluster(image={image("old-dask")!r}) as cluster:
            cluster.scale(1)
            with cluster.get_client() as client:
                print(client.submit(sum, range(10)).result(), client.run_on_scheduler(lambda: distributed.__version__))
        """
    assert "45 2024.10.0" in installation.run("old-dask", script, of="old-dask")


def test_an_image_without_headrace_says_what_to_install(installation: Installation) -> None:
    script = f"""
        from headrace import Gateway
        from headrace.errors import ClusterFailed
        with Gateway() as gateway:
            try:
                gateway.new_cluster(image={image("plain-dask")!r})
            except ClusterFailed as failure:
                print(failure)
        """
    printed = installation.run("plain-dask", script)
    assert f"image {image('plain-dask')} has no headrace: build one with `pip install headrace[dask]`" in printed
