"""Parts that make a detector's loss comparable between one process and several.

mmdet normalises losses by the counts of each process and draws regions at random. With the same
count of regions for every image, taken in order, the mean over processes is the loss of one.
"""

import json
import os

import torch
from mmdet.models.task_modules.samplers import BaseSampler
from mmdet.registry import TASK_UTILS
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@TASK_UTILS.register_module()
class FixedCountSampler(BaseSampler):
    """The first ``num`` regions of each kind, repeated where there are fewer."""

    @staticmethod
    def _take(indices, count):
        indices = indices.flatten().sort().values
        return indices[torch.arange(count) % len(indices)]

    def _sample_pos(self, assign_result, num_expected, **kwargs):
        return self._take(torch.nonzero(assign_result.gt_inds > 0), int(self.num / 4))

    def _sample_neg(self, assign_result, num_expected, **kwargs):
        return self._take(torch.nonzero(assign_result.gt_inds == 0), self.num - int(self.num / 4))

    def sample(self, assign_result, pred_instances, gt_instances, **kwargs):
        # The stock class makes indices unique and so changes the count.
        from mmdet.models.task_modules.samplers import SamplingResult

        priors = pred_instances.priors
        if self.add_gt_as_proposals:
            priors = torch.cat([gt_instances.bboxes, priors])
            assign_result.add_gt_(gt_instances.labels)
        flags = priors.new_zeros(len(priors), dtype=torch.uint8)
        if self.add_gt_as_proposals:
            flags[: len(gt_instances)] = 1
        return SamplingResult(
            pos_inds=self._sample_pos(assign_result, 0),
            neg_inds=self._sample_neg(assign_result, 0),
            priors=priors,
            gt_bboxes=gt_instances.bboxes,
            assign_result=assign_result,
            gt_flags=flags,
        )


@HOOKS.register_module()
class WriteMeanLoss(Hook):
    """Append the loss of each iteration, averaged over the processes, to LOSS_FILE."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach().clone().double()
        all_reduce(loss, 'mean')
        if is_main_process():
            with open(os.environ['LOSS_FILE'], 'a') as file:
                file.write(json.dumps(loss.item()) + '\n')
