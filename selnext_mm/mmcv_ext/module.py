"""The content of ``mmcv._ext``: a function for every name of the compiled module."""

import importlib

from selnext_mm.errors import UserError

DOC = 'Operators of mmcv in torch, by selnext_mm.mmcv_ext, instead of the compiled module.'
# module of this package -> the operators in it
COMPUTED = {
    'boxes': ('bbox_overlaps',),
    'deform_conv': (
        'deform_conv_backward_input',
        'deform_conv_backward_parameters',
        'deform_conv_forward',
        'modulated_deform_conv_backward',
        'modulated_deform_conv_forward',
    ),
    'focal_loss': (
        'sigmoid_focal_loss_backward',
        'sigmoid_focal_loss_forward',
        'softmax_focal_loss_backward',
        'softmax_focal_loss_forward',
    ),
    'ms_deform_attn': ('ms_deform_attn_backward', 'ms_deform_attn_forward'),
    'nms': ('nms', 'nms_match', 'softnms'),
    'roi_align': ('roi_align_backward', 'roi_align_forward'),
    'roi_pool': ('roi_pool_backward', 'roi_pool_forward'),
}
# The other operators of mmcv 2.1 and 2.2, and line_nms_forward of the onedl fork.
_OTHERS = """
active_rotated_filter_backward active_rotated_filter_forward assign_score_withk_backward
assign_score_withk_forward ball_query_forward bezier_align_backward bezier_align_forward bias_act
border_align_backward border_align_forward box_iou_quadri box_iou_rotated carafe_backward
carafe_forward carafe_naive_backward carafe_naive_forward chamfer_distance_backward
chamfer_distance_forward contour_expand convex_giou convex_iou correlation_backward
correlation_forward deform_roi_pool_backward deform_roi_pool_forward
diff_iou_rotated_sort_vertices_forward dynamic_point_to_voxel_backward
dynamic_point_to_voxel_forward dynamic_voxelize_forward filtered_lrelu filtered_lrelu_act_
furthest_point_sampling_forward furthest_point_sampling_with_dist_forward fused_bias_leakyrelu
fused_indice_conv_forward gather_points_backward gather_points_forward
get_indice_pairs_2d_backward get_indice_pairs_2d_forward get_indice_pairs_3d_backward
get_indice_pairs_3d_forward get_indice_pairs_4d_forward group_points_backward group_points_forward
hard_voxelize_forward indice_conv_backward indice_conv_forward indice_maxpool_backward
indice_maxpool_forward iou3d_boxes_overlap_bev_forward iou3d_nms3d_forward
iou3d_nms3d_normal_forward knn_forward line_nms_forward masked_col2im_forward
masked_im2col_forward min_area_polygons nms_quadri nms_rotated pixel_group
points_in_boxes_all_forward points_in_boxes_cpu_forward points_in_boxes_part_forward
points_in_polygons_forward prroi_pool_backward prroi_pool_coor_backward prroi_pool_forward
psamask_backward psamask_forward riroi_align_rotated_backward riroi_align_rotated_forward
roi_align_rotated_backward roi_align_rotated_forward roiaware_pool3d_backward
roiaware_pool3d_forward roipoint_pool3d_forward rotated_feature_align_backward
rotated_feature_align_forward stack_ball_query_forward stack_group_points_backward
stack_group_points_forward sync_bn_backward_data sync_bn_backward_param sync_bn_forward_mean
sync_bn_forward_output sync_bn_forward_var three_interpolate_backward three_interpolate_forward
three_nn_forward tin_shift_backward tin_shift_forward upfirdn2d
"""
COMPILED_ONLY = tuple(_OTHERS.split())


def compiled_only(name: str):
    """A function that raises an error which says how to get the operator ``name``."""

    def call(*args, **kwargs):
        raise UserError(
            f'mmcv._ext.{name} needs the compiled mmcv, and this environment has mmcv without its '
            'operators; in a checkout of selnext_mm "MMCV_OPS=cpu make setup" (or MMCV_OPS=cuda) '
            'makes an environment that has them'
        )

    call.__name__ = call.__qualname__ = name
    return call


def get_compiler_version() -> str:
    return 'none (selnext_mm.mmcv_ext)'


def get_compiling_cuda_version() -> str:
    return 'not available'


def fill(namespace: dict) -> None:
    """Add all names of ``mmcv._ext`` to the namespace of a module."""
    namespace['__doc__'] = DOC
    namespace['get_compiler_version'] = get_compiler_version
    namespace['get_compiling_cuda_version'] = get_compiling_cuda_version
    for name in COMPILED_ONLY:
        namespace[name] = compiled_only(name)
    for room, names in COMPUTED.items():
        module = importlib.import_module(f'selnext_mm.mmcv_ext.{room}')
        namespace.update({name: getattr(module, name) for name in names})
