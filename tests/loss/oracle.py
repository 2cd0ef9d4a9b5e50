"""The three losses once more, written from the formulas with plain loops over numbers: slow, but hard to get wrong."""

import math

import torch


def _list_loss(scores, relevances, alpha):
    dcg = idcg = 0.0
    for i, (score_i, relevance) in enumerate(zip(scores, relevances)):
        rank = 1.0
        for j, score_j in enumerate(scores):
            if j != i:
                rank = rank + torch.sigmoid(alpha * (score_j - score_i))
        dcg = dcg + (2**relevance - 1) / torch.log2(torch.as_tensor(rank + 1))
    for position, relevance in enumerate(sorted(relevances, reverse=True), start=1):
        idcg += (2**relevance - 1) / math.log2(position + 1)
    return None if idcg == 0 else 1 - dcg / idcg


def ndcg_bound_loss(scores, relevances):
    gains = [2**relevance - 1 for relevance in relevances]
    loss = scores[0] * 0
    for score_i, gain_i in zip(scores, gains):
        for score_j, gain_j in zip(scores, gains):
            if gain_i > gain_j:
                loss = loss + (gain_i - gain_j) / sum(gains) * torch.log2(1 + torch.exp(score_j - score_i))
    return loss


def feature_ranking_loss(features, labels, alpha=10.0):
    total = features.sum() * 0
    sets = [{c for c, present in enumerate(row) if present} for row in labels.tolist()]
    for b in range(len(features)):
        rest = [i for i in range(len(features)) if i != b]
        scores = [-(((features[b] - features[i]) ** 2).sum()).sqrt() for i in rest]
        relevances = [len(sets[b] & sets[i]) / len(sets[b] | sets[i]) if sets[b] | sets[i] else 0.0 for i in rest]
        loss = _list_loss(scores, relevances, alpha)
        total = total + (0 if loss is None else loss)
    return total


def _neutral(number, halfwidth, like):
    step = 2 * halfwidth / (number - 1) if number > 1 else 0.0
    return [torch.tensor(0.5 - halfwidth + k * step, dtype=like.dtype) for k in range(number)]


def _score_list_loss(scores, present, number, halfwidth, alpha, bound):
    neutral = _neutral(number, halfwidth, scores)
    relevances = [2.0 * y for y in present] + [1.0] * number
    if bound:
        return ndcg_bound_loss([*scores, *(torch.log(v / (1 - v)) for v in neutral)], relevances)
    return _list_loss([*scores, *neutral], relevances, alpha)


def label_ranking_loss(scores, labels, number_label=4, range_label=0.1, alpha=100.0, bound=False):
    total = scores.sum() * 0
    for row, present in zip(scores, labels.tolist()):
        positives = sum(present)
        if positives:
            total = total + _score_list_loss(row, present, number_label, range_label, alpha, bound) / positives
    return total


def sample_ranking_loss(scores, labels, number_sample=16, range_sample=0.1, alpha=100.0, bound=False):
    total = scores.sum() * 0
    for column, present in zip(scores.T, labels.T.tolist()):
        loss = _score_list_loss(column, present, number_sample, range_sample, alpha, bound)
        total = total + (0 if loss is None else loss)
    return total


def two_way_loss(logits, labels, temperature_pos=4.0, temperature_neg=1.0):
    total = logits.sum() * 0
    for lists, presents in ((logits, labels), (logits.T, labels.T)):
        losses = []
        for scores, present in zip(lists, presents.tolist()):
            positives = sum(torch.exp(-s / temperature_pos) for s, y in zip(scores, present) if y)
            negatives = sum(torch.exp(s / temperature_neg) for s, y in zip(scores, present) if not y)
            if any(present):
                # softplus(T_n log N + T_p log P) = log(1 + N^T_n P^T_p)
                losses.append(torch.log(torch.as_tensor(1 + negatives**temperature_neg * positives**temperature_pos)))
        total = total + (sum(losses) / len(losses) if losses else 0)
    return total


def zlpr_loss(logits, labels):
    total = logits.sum() * 0
    for scores, present in zip(logits, labels.tolist()):
        positives = negatives = 1.0
        for score, y in zip(scores, present):
            if y:
                positives = positives + torch.exp(-score)
            else:
                negatives = negatives + torch.exp(score)
        total = total + (torch.log(torch.as_tensor(positives)) + torch.log(torch.as_tensor(negatives))) / len(logits)
    return total


def smooth_ap_loss(logits, labels, tau=0.01):
    losses = []
    for scores, present in zip(torch.sigmoid(logits).T, labels.T.tolist()):
        precisions = []
        for i, score_i in enumerate(scores):
            if present[i]:
                rank, rank_among_positives = 1.0, 1.0
                for j, score_j in enumerate(scores):
                    if j != i:
                        step = torch.sigmoid((score_j - score_i) / tau)
                        rank = rank + step
                        rank_among_positives = rank_among_positives + step * present[j]
                precisions.append(torch.as_tensor(rank_among_positives / rank))
        if precisions:
            losses.append(1 - sum(precisions) / len(precisions))
    return logits.sum() * 0 + (sum(losses) / len(losses) if losses else 0)
