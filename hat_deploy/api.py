"""The Python API: arrays, files and folders upscaled with one model."""

from __future__ import annotations

from pathlib import Path

from hat_deploy import folders
from hat_deploy.errors import CheckFailed, PictureError
from hat_deploy.folders import Done, Job, OnProgress, Options, Outcome, job_list
from hat_deploy.images import Colour
from hat_deploy.terminal.printable import display_name
from hat_deploy.tiles.enlarger import Enlarger, OnTiles
from hat_deploy.tiles.target_size import TargetSize, mark_of
from hat_deploy.video.options import VideoOptions


class Upscaler(Enlarger):
    """Upscales images with one model.

        with Upscaler("hat.onnx") as upscaler:
            large = upscaler.upscale(small)
            upscaler.upscale_folder("photos", "large")

    Threads may share one: their calls are computed one after another. A process that was forked is
    told to open its own.

    Args:
        model: an artifact (``.onnx``), a checkpoint (``.pth``, ``.safetensors``), the name of
            a model that ships, or an engine. A checkpoint is exported once into the user's
            cache, which takes the ``export`` extra.
        tile: one side of a tile, or its height and width, halo included; only where a checkpoint or
            a name is given, or an artifact of any size. Default: 256x256, rounded up to the
            network's window.
        halo: border of a tile that is dropped; by default what the artifact carries.
        batch: tiles in one call; an artifact has its own.
        exact: make tiles equal to the whole image: each is computed in two passes, the first of
            which collects what channel attention averages over the image. A checkpoint or a
            name is exported for that; an artifact must have been.
        passes: over an image, at most, where the artifact is exact; fewer where averages stand
            still. Default: 2.
        device: ``cpu`` or ``cuda``; with ``cuda:1`` the whole process sees that GPU alone, which
            it must be told before it first uses CUDA. ``cuda:all`` takes every GPU that it sees,
            ``cuda:0,cuda:2`` those two, and ``cpu,cpu`` divides the cores between two engines:
            batches are dealt to whichever is free, and results are those of one. On a GPU, a
            checkpoint or a name becomes an artifact that takes bytes, and one that takes floats
            when the first 16-bit image comes.
        backend: ``openvino`` or ``onnxruntime``, for an ``.onnx``; by default OpenVINO on a CPU
            where it is installed.
        compute: ``fp32`` or ``bf16``, for OpenVINO; by default fp32, or bf16 for an artifact
            made in it.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``fp16-pure``: what a checkpoint or a name is
            exported in; an artifact has its own. Default: fp32 on a CPU; on a GPU fp16 where its
            proof holds, else fp32.
        threads: of each engine on a CPU; by default all cores, divided among the engines.
        streams: tiles that OpenVINO computes side by side, each in memory of its own.
        conv_scale: weight of CAB beside window attention. A checkpoint does not store it, nor
            the next three; an artifact has its own. Default: that of a ``config.json`` beside
            the checkpoint, else the published 0.01.
        img_range: the network's input range; published 1.
        qk_scale: factor on queries; published 1 / sqrt(channels of a head).
        shift: whether every other block shifts its windows; published True.
        self_test: whether the engine first computes the artifact's own test tile, once for each
            library, driver and processor, and is refused where the result is not the reference's.
        retry_wider: whether a tile that is not finite in half precision is computed again in
            fp32, where an artifact in fp32 can be made or the one at hand computes in it.
        on_stage: told what is being done while a checkpoint is exported.
        on_warning: told what seems wrong with a checkpoint when it is exported, and of tiles
            that were computed again; by default Python's own warning.

    Raises:
        HatDeployError: no such model, or it cannot be loaded here; see the subclasses.
        ArtifactError: the artifact fails its test on this machine.
    """

    def upscale_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        quality: int = 95,
        size: TargetSize | None = None,
        linear_light: bool = False,
        progress: OnTiles | None = None,
    ) -> Done:
        """Upscale one file, colour profile and other metadata included.

        Args:
            source: a PNG, JPEG, WebP, AVIF, GIF, TIFF or BMP; all frames of a GIF or WebP.
            target: the file to write, in the format of its suffix; one that is there is
                replaced. It appears whole or not at all.
            quality: 1 to 100, of JPEG, WebP and AVIF; 100 is lossless WebP or AVIF.
            size: of the result; see :meth:`upscale`.
            linear_light: see :meth:`upscale`.
            progress: called after each batch with the tiles done and the tiles in all.

        Returns:
            Seconds, tiles and notes on what decoding changed.

        Raises:
            UsageError: the target is the source; or as :meth:`upscale`.
            PictureError: the source cannot be read, or the target cannot hold it.
            CheckFailed, ArtifactError: as :meth:`upscale`.
        """
        job = Job(Path(source), Path(target))
        try:
            return folders.upscale_one(
                job,
                self,
                quality=quality,
                size=size,
                linear_light=linear_light,
                progress=progress,
            )
        except (PictureError, CheckFailed) as error:
            named = type(error)(f"{display_name(source)}: {error}")
            named.path = error.path or Path(source)
            raise named from error

    def upscale_folder(
        self,
        folder: str | Path,
        output: str | Path | None = None,
        *,
        recursive: bool = False,
        format: str | None = None,  # noqa: A002 - the command line's name for it
        quality: int = 95,
        overwrite: bool = False,
        fail_fast: bool = False,
        memory: int | None = None,
        size: TargetSize | None = None,
        linear_light: bool = False,
        background: Colour | None = None,
        keep_times: bool = False,
        video: VideoOptions | None = None,
        progress: OnProgress | None = None,
    ) -> list[Outcome]:
        """Upscale the images of a folder; the same call again resumes a run that ended early.

        Args:
            folder: read, never written.
            output: where results go, in the folder's tree; by default ``photos-x2`` beside
                ``photos``. A journal there decides what is done already.
            recursive: enter folders inside.
            format: suffix of the results; by default each source's own.
            quality: 1 to 100, of JPEG, WebP and AVIF; 100 is lossless WebP or AVIF.
            overwrite: redo results that exist.
            fail_fast: stop after the first image that cannot be processed.
            memory: bytes of images held at once; see :class:`hat_deploy.folders.Options`.
            size: of the result; see :meth:`upscale`.
            linear_light: see :meth:`upscale`.
            background: what lies behind transparent pixels in formats that hold none, as JPEG,
                as (red, green, blue) of 0 to 255; None refuses such images.
            keep_times: give results the time of change of their sources.
            video: how the clips in the folder are written.
            progress: called after each batch and for each outcome, in the caller's thread.

        Returns:
            What became of each image, in the order in which that was known. An exception,
            KeyboardInterrupt included, leaves only whole files behind and no thread running.

        Raises:
            UsageError: there is no such folder, no such format, or no number like that; or as
                :meth:`upscale`.
            ArtifactError: the engine failed.
        """
        listed = job_list.list_jobs(
            [Path(folder)],
            mark=mark_of(size, self.scale),
            output=None if output is None else Path(output),
            recursive=recursive,
            format=format,
            overwrite=overwrite,
        )
        options = Options(
            quality=quality,
            overwrite=overwrite,
            fail_fast=fail_fast,
            memory=memory,
            size=size,
            linear_light=linear_light,
        )
        with self._gate.alone():
            return list(folders.run_list(listed, self, options, progress=progress))
