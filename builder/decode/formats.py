"""File formats that may be decoded: those that hold a whole video and refer to no other file.

libav recognises playlists, manifests and image sequences by their content, whatever a file is
called. They may refer to any file on this machine or another, so they are refused.
"""

import re
from dataclasses import replace
from pathlib import Path

from builder.decode.frames import Failure

# libav's names of the formats it may read: all whose demuxer opens nothing but the file itself.
# Sound and subtitles are included, so that such files fail as "no video stream". Excluded are
# concat, dash, hls, image2, imf, mlv, rtp, rtsp, sap, sdp, vobsub and webm_dash_manifest, which
# open other files or servers; svg_pipe, as an SVG may do so; scripts (avisynth, lavfi,
# vapoursynth), devices, text rendered as pictures (tty, bin), and raw video, which does not state
# its picture size.
_NAMES = """
    3dostr 4xm aa aac aax ac3 ac4 ace acm act adp ads adx aea afc aiff aix alaw alias_pix alp
    amr amrnb amrwb anm apac apc ape apm apng aptx aptx_hd apv aqtitle argo_asf argo_brp
    argo_cvg asf asf_o ass ast au av1 avi avr avs avs2 avs3 bethsoftvid bfi bfstm bink binka bit
    bmp_pipe bmv boa bonk brender_pix brstm c93 caf cavsvideo cdg cdxl cine codec2 cri_pipe daud
    dcstr dds_pipe derf dfa dfpwm dhav dirac dnxhd dpx_pipe dsf dsicin dss dts dtshd dv dvbsub
    dvbtxt dxa ea ea_cdata eac3 epaf evc exr_pipe f32be f32le f64be f64le ffmetadata film_cpk
    filmstrip fits flac flic flv frm fsb fwse g722 g723_1 g726 g726le g728 g729 gdv gem_pipe
    genh gif gif_pipe gsm gxf h261 h263 h264 hca hcom hdr_pipe hevc hnm hxvs iamf ico idcin iff
    ifv ilbc ingenient ipmovie ipu ircam iss iv8 ivf ivr j2k_pipe jacosub jpeg_pipe jpegls_pipe
    jpegxl_anim jpegxl_pipe jpegxs_pipe jv kux kvag laf lc3 libgme libopenmpt live_flv lmlm4
    loas lrc luodat lvf lxf m4v matroska mca mcc mgsts microdvd mjpeg mjpeg_2000 mlp mm mmf mods
    moflex mov mp3 mpc mpc8 mpeg mpegts mpegtsraw mpegvideo mpjpeg mpl2 mpsub msf msnwctcp msp
    mtaf mtv mulaw musx mv mvi mxf mxg nc nistsphere nsp nsv nut nuv obu ogg oma osq paf
    pam_pipe pbm_pipe pcx_pipe pdv pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe photocd_pipe
    pictor_pipe pjs pmp png_pipe pp_bnk ppm_pipe psd_pipe psxstr pva pvf qcp qdraw_pipe qoa
    qoi_pipe r3d rcwt realtext redspark rka rl2 rm roq rpl rsd rso s16be s16le s24be s24le s32be
    s32le s337m s8 sami sbc scc scd sdns sdr2 sds sdx ser sga sgi_pipe shn siff simbiosis_imx
    sln smjpeg smk smush sol sox spdif srt stl subviewer subviewer1 sunrast_pipe sup svag svs
    swf tak tedcaptions thp tiertexseq tiff_pipe tmv truehd tta txd ty u16be u16le u24be u24le
    u32be u32le u8 usm vag vbn_pipe vc1 vc1test vidc vividas vivo vmd voc vpk vplayer vqf vvc
    w64 wady wav wavarc wc3movie webp_anim webp_pipe webvtt wsaud wsd wsvqa wtv wv wve xa
    xbm_pipe xmd xmv xpm_pipe xvag xwd_pipe xwma yop yuv4mpegpipe
"""
READ = tuple(_NAMES.split())
ONLY_READ = ",".join(READ)  # value of libav's option format_whitelist
PROTOCOL = "file"  # value of libav's option protocol_whitelist: no network, no pipe, no parts
NOT_READ = "Format not on whitelist"  # libav's message for all other formats
_ENOUGH = 1 << 16  # bytes of a file in which playlists are recognised

_PLAYLISTS = {
    "an HLS playlist": rb"\A(?:\xef\xbb\xbf)?#EXTM3U",
    "a list of files (ffconcat)": rb"\A\s*ffconcat version",
    "a DASH manifest": rb"\A(?:\xef\xbb\xbf)?\s*(?:<(?:\?xml|!--)(?s:.*?))?<MPD\b",
    "an IMF playlist": rb"\A(?:\xef\xbb\xbf)?\s*(?:<(?:\?xml|!--)(?s:.*?))?<CompositionPlaylist\b",
    "a description of a stream (SDP)": rb"\Av=0\r?\n(?s:.*?)^c=IN IP",
    "an index of subtitles (VobSub)": rb"\A# VobSub index file",
    "an MLV video, which may go on in other files": rb"\AMLVI",
}


def without_reading(failure: Failure, path: Path) -> Failure:
    """Refine the failure of a file that libav did not recognise, or that it may not read (NOT_READ
    is then the detail), by the beginning of the file. Raises OSError if that cannot be read."""
    with path.open("rb") as file:
        beginning = file.read(_ENOUGH)
    for kind, sign in _PLAYLISTS.items():
        if re.search(sign, beginning, re.MULTILINE):
            return replace(failure, reason="a playlist", detail=kind)
    if failure.detail != NOT_READ:
        return failure
    if "%" in path.name:
        return replace(failure, reason="a playlist", detail="its name (%) stands for many pictures")
    return replace(failure, detail="it is of a format that is not read here")
