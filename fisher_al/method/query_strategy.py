"""The method as a query strategy of scikit-activeml's; its import takes that library's seconds."""

from __future__ import annotations

import numpy as np
import torch
from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
from skactiveml.utils import (
    MISSING_LABEL,
    check_equal_missing_label,
    check_n_features,
    check_type,
    is_labeled,
)
from sklearn.base import clone
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d
from torch import Tensor

from fisher_al.data.features import Features
from fisher_al.method.acquisition import Matches
from fisher_al.method.fisher_kernel import FeatureSimilarity, KernelMethod
from fisher_al.method.linear_head import LinearHead, linear_head, no_head, why_not_linear
from fisher_al.method.question import matches_on_features, methods_on_features, question_on_features

# What tells ties apart, where several centres find different candidates as similar.
TIE = 1e-9


def class_numbers(name: str, labels: np.ndarray, classes: np.ndarray) -> Tensor:
    """Numbers (n,) of labels among the classes of `clf`.

    Raises: ValueError if a label is none of them.
    """
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    for label in labels.tolist():
        if label not in numbers:
            raise ValueError(f"`{name}` contains {label!r}, which is no class of `clf`.")
    return torch.tensor([numbers[label] for label in labels.tolist()])


def head_of(clf: SkactivemlClassifier) -> LinearHead:
    """The head that decides as a fitted classifier, which may not have seen all of its classes.

    Raises: TypeError if it is not linear.
    """
    inner = getattr(clf, "estimator_", clf)
    if reason := why_not_linear(inner):
        raise TypeError(f"`clf` must be linear, unless `method='none'`: {reason}.")
    known = class_numbers("clf.estimator_.classes_", inner.classes_, clf.classes_).numpy()
    return linear_head(inner.coef_, inner.intercept_, known, len(clf.classes_))


def has_learned(clf: SkactivemlClassifier) -> bool:
    """Whether there were samples of two classes to fit it on; SklearnClassifier is fitted without, too."""
    return getattr(clf, "is_fitted_", True) and len(getattr(clf, "estimator_", clf).classes_) > 1


def utilities_of(picks: Tensor, matches: Matches, most: int) -> np.ndarray:
    """Utilities (n,) that fall along the walk: minus the rank, plus the similarity on a scale from 0 to 1.

    picks : (batch_size,), which come first; a longer walk may pass equal candidates in another order.
    matches : of all candidates. most : the largest similarity that there can be.
    """
    order = torch.cat([picks, matches.candidates[~torch.isin(matches.candidates, picks)]])
    utilities = torch.empty(len(order), dtype=torch.float64)
    share = (matches.similarity.double() / most).clamp(-1, 1) / 2 + 0.5
    utilities[matches.candidates] = share - matches.ranks
    utilities[order] = utilities[order].cummin(0).values - TIE * torch.arange(len(order))
    return utilities.numpy()


class FisherKernelMatching(SingleAnnotatorPoolQueryStrategy):
    """Fisher Kernel Matching

    Queries the candidates whose features and Fisher scores resemble those of the misclassified samples of a
    small validation set [1]_. The labeled set then drifts towards the distribution of that set, also where
    classes are rare among the candidates.

    Parameters
    ----------
    method : 'gradFmap' or 'gradGmap' or 'grad' or 'gradShift' or 'none', default='gradFmap'
        The label whose gradient is a candidate's Fisher score.

        - `method='gradFmap'` takes the label of the validation sample that is nearest by features.
        - `method='gradGmap'` takes that of the nearest by features and scores of the predicted labels.
        - `method='grad'` takes the predicted label.
        - `method='gradShift'` takes the most probable label by a regression on the validation samples that
          allows for the candidates' shares of classes.
        - `method='none'` compares features alone, and works with every classifier.
    missing_label : scalar or string or np.nan or None, default=np.nan
        Value to represent a missing label.
    random_state : None or int or np.random.RandomState, default=None
        The random state to use. It matters where fewer samples are queried than are misclassified.

    References
    ----------
    .. [1] D. Gudovskiy, A. Hodgkinson, T. Yamaguchi, and S. Tsukizawa. Deep Active Learning for Biased
       Datasets via Fisher Kernel Self-Supervision. In IEEE/CVF Conf. Comput. Vis. Pattern Recognit., 2020.
    """

    def __init__(self, method="gradFmap", missing_label=MISSING_LABEL, random_state=None):
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.method = method

    def query(
        self,
        X,
        y,
        clf,
        X_val,
        y_val,
        fit_clf=True,
        sample_weight=None,
        candidates=None,
        batch_size=1,
        return_utilities=False,
    ):
        """Determines for which candidate samples labels are to be queried.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data set, usually complete, i.e., including the labeled and unlabeled samples.
        y : array-like of shape (n_samples,)
            Labels of the training data set (possibly including unlabeled ones indicated by
            `self.missing_label`).
        clf : skactiveml.base.SkactivemlClassifier
            A linear classifier, such as `SklearnClassifier(LogisticRegression(), classes=classes)`. While
            there is nothing to fit it on, all validation samples count as misclassified, and features alone
            are compared.
        X_val : array-like of shape (n_val_samples, n_features)
            Validation samples, whose classes are as frequent as they matter.
        y_val : array-like of shape (n_val_samples,)
            Their labels, all of them classes of `clf`.
        fit_clf : bool, default=True
            Whether `clf` is to be fitted on `X`, `y`, and `sample_weight`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of training samples in `X`.
        candidates : None or array-like of shape (n_candidates,), dtype=int or array-like of shape \
                (n_candidates, n_features), default=None
            - If `candidates` is `None`, the unlabeled samples from `(X, y)` are considered as `candidates`.
            - If `candidates` is of shape `(n_candidates,)` and of type `int`, `candidates` is considered as
              the indices of the samples in `(X, y)`.
            - If `candidates` is of shape `(n_candidates, n_features)`, the candidates are directly given in
              `candidates` (not necessarily contained in `X`).
        batch_size : int, default=1
            The number of samples to be selected in one AL cycle.
        return_utilities : bool, default=False
            If `True`, also return the utilities.

        Returns
        -------
        query_indices : numpy.ndarray of shape (batch_size,)
            Which samples to label, in the order of the walk over the rankings of the misclassified samples.
            The indexing refers to the samples in `X`, or to `candidates` if these are samples.
        utilities : numpy.ndarray of shape (batch_size, n_samples) or (batch_size, n_candidates)
            The utilities of samples before each selected sample of the batch: minus the best rank among
            those rankings, from 0, plus how similar the sample is there, from 0 to 1. What is no candidate,
            or already selected, is np.nan. The indexing is that of `query_indices`.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, check_X_dict={"ensure_min_features": 2}
        )
        X_cand, mapping = self._transform_candidates(candidates, X, y)
        X_val, y_val = check_array(X_val), column_or_1d(y_val)
        check_consistent_length(X_val, y_val)
        check_n_features(self, X_val, reset=False)
        method = self._validate_method()
        clf = self._validate_clf(clf, fit_clf, X, y, sample_weight)

        answers = y[is_labeled(y, self.missing_label_)]
        labels = class_numbers("y_val", y_val, clf.classes_)
        head, predictions = no_head(len(clf.classes_), X.shape[1]), torch.full_like(labels, -1)
        if not has_learned(clf) or (fit_clf and len(np.unique(answers)) < 2):
            method = FeatureSimilarity()
        else:
            predictions = class_numbers("clf.predict(X_val)", clf.predict(X_val), clf.classes_)
            head = head if method.name == "none" else head_of(clf)

        pool, validation = (Features(check_array(rows, dtype=np.float32)) for rows in (X_cand, X_val))
        validation.labels = labels
        seed = int(self.random_state_.randint(2**31 - 1))
        question = question_on_features(head, pool, validation, batch_size, seed, predictions)
        nothing = torch.empty(0, dtype=torch.long)
        picks = matches_on_features(method, question, nothing, batch_size).candidates
        query_indices = picks.numpy() if mapping is None else mapping[picks.numpy()]
        if not return_utilities:
            return query_indices

        matches = matches_on_features(method, question, nothing, len(pool))
        of_candidates = utilities_of(picks, matches, method.largest_similarity([X.shape[1]]))
        first = of_candidates if mapping is None else np.full(len(X), np.nan)
        if mapping is not None:
            first[mapping] = of_candidates
        utilities = np.tile(first, (batch_size, 1))
        for place, index in enumerate(query_indices):
            utilities[place + 1 :, index] = np.nan
        return query_indices, utilities

    def _validate_method(self) -> KernelMethod:
        offered = methods_on_features().items()
        known = {name: method for name, method in offered if isinstance(method, KernelMethod)}
        check_type(self.method, "method", target_vals=list(known))
        return known[self.method]

    def _validate_clf(self, clf, fit_clf, X, y, sample_weight):
        """The classifier, fitted."""
        check_type(clf, "clf", SkactivemlClassifier)
        check_type(fit_clf, "fit_clf", bool)
        check_equal_missing_label(clf.missing_label, self.missing_label_)
        if fit_clf:
            weights = () if sample_weight is None else (sample_weight,)
            clf = clone(clf).fit(X, y, *weights)
        check_is_fitted(clf)
        return clf
