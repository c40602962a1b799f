"""What a network is for, and what its figures do not tell: in its card and in the report."""

INTENDED_USE = (
    "To compare how well an attribute of faces is told for women and for men, and to label faces "
    "like those of the data set where a wrong label harms nobody.",
    "Not to identify people, to judge them, or to decide about them. It does not tell gender.",
)
LIMITS = (
    "The figures hold for faces like those of the data set, aligned and cut alike. On other faces "
    "measure again before it is used.",
    "Gender is as the data set has it: annotated by others, and one of two. Whom that does not fit "
    "is in these figures under a name that is not theirs, or not at all.",
    "Labels are noisy: some of what counts as a mistake is the label's, and so is some of what "
    "counts as right.",
    "Fair means here accurate, and for both genders alike. Age, skin and all else that people are "
    "treated unequally for were not part of the choice.",
)
